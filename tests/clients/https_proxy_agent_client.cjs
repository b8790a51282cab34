// https-proxy-agent under Node's own http and https, and under ws.
const agents = require('https-proxy-agent')
const http = require('http')
const https = require('https')
const WebSocket = require('ws')
const steps = require('./steps.cjs')

const agent = new agents.HttpsProxyAgent(steps.withUser())

function fetch (method, url, body) {
  return new Promise((resolve, reject) => {
    const request = (url.startsWith('https:') ? https : http).request(url, { method, agent }, response => {
      const parts = []
      response.on('data', part => parts.push(part))
      response.on('end', () => resolve([response.statusCode, Buffer.concat(parts)]))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

function talk (url, text) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { agent })
    socket.on('open', () => socket.send(text))
    socket.on('message', answer => {
      socket.on('close', () => resolve([101, answer]))
      socket.close()
    })
    socket.on('error', reject)
  })
}

steps.run(fetch, talk)
