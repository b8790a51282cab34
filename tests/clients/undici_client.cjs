const { ProxyAgent, request } = require('undici')
const steps = require('./steps.cjs')

const token = steps.user && 'Basic ' + Buffer.from(`${steps.user}:${steps.password}`).toString('base64')
const dispatcher = new ProxyAgent({ uri: steps.proxy, ...(token && { token }) })

steps.run(async (method, url, body) => {
  const response = await request(url, { dispatcher, method, body })
  return [response.statusCode, Buffer.from(await response.body.arrayBuffer())]
}).then(() => dispatcher.close())
