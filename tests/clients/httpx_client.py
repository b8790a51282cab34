import asyncio
import inspect

import httpx

import steps

# The argument was renamed in 0.26.
name = "proxy" if "proxy" in inspect.signature(httpx.AsyncClient).parameters else "proxies"


# Only the asynchronous client of older versions can speak TLS inside TLS.
async def main():
    async with httpx.AsyncClient(**{name: steps.proxy_with_user}) as client:
        for method, url, body in steps.steps():
            try:
                response = await client.request(method, url, content=body or None)
                steps.say(response.status_code, response.content)
            except httpx.HTTPError as error:
                steps.say_error(error)


asyncio.run(main())
