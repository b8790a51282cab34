import asyncio

import aiohttp

import steps


async def main():
    auth = aiohttp.BasicAuth(steps.user, steps.password) if steps.user else None
    through = {"proxy": steps.proxy, "proxy_auth": auth}
    async with aiohttp.ClientSession() as session:
        for method, url, body in steps.steps():
            try:
                if method == "WS":
                    async with session.ws_connect(url, **through) as socket:
                        await socket.send_str(body)
                        answer = await socket.receive_str()
                        steps.say(101, answer.encode())
                else:
                    async with session.request(method, url, data=body or None, **through) as response:
                        steps.say(response.status, await response.read())
            except aiohttp.ClientError as error:
                steps.say_error(error)


asyncio.run(main())
