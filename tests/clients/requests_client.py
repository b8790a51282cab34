import requests

import steps

with requests.Session() as session:
    session.proxies = {"http": steps.proxy_with_user, "https": steps.proxy_with_user}
    for method, url, body in steps.steps():
        try:
            response = session.request(method, url, data=body or None)
            steps.say(response.status_code, response.content)
        except requests.RequestException as error:
            steps.say_error(error)
