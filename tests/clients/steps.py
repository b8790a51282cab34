"""What the Python clients share: reading steps, printing answers."""
import hashlib
import sys
from urllib.parse import quote, urlsplit

proxy, user, password = sys.argv[1:4]
proxy_with_user = proxy
if user:
    proxy_with_user = "{0.scheme}://{1}:{2}@{0.netloc}".format(urlsplit(proxy), quote(user), quote(password))


def steps():
    """Method, URL, and the body (bytes) or text of each step."""
    for step in sys.argv[4:]:
        method, url, *more = step.split(" ")
        if method == "POST":
            yield method, url, b"x" * int(more[0])
        else:
            yield method, url, " ".join(more)


def say(status, body):
    shown = body.decode() if len(body) <= 100 else hashlib.sha256(body).hexdigest()
    print(status, shown, flush=True)


def say_error(error):
    print("error:", str(error).replace("\n", " ") or repr(error), flush=True)
