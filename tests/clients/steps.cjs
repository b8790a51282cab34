// What the Node clients share: reading steps, printing answers.
const { createHash } = require('crypto')

const [proxy, user, password, ...words] = process.argv.slice(2)

function withUser () {
  const url = new URL(proxy)
  url.username = user
  url.password = password
  return url.href
}

function say (status, body) {
  console.log(status, body.length <= 100 ? body.toString() : createHash('sha256').update(body).digest('hex'))
}

// `fetch(method, url, body)` and `talk(url, text)` give [status, body].
async function run (fetch, talk) {
  for (const word of words) {
    const [method, url, ...more] = word.split(' ')
    try {
      if (method === 'WS') say(...await talk(url, more.join(' ')))
      else say(...await fetch(method, url, method === 'POST' ? Buffer.alloc(Number(more[0]), 'x') : undefined))
    } catch (error) {
      console.log('error:', error.message)
    }
  }
}

module.exports = { proxy, user, password, withUser, run }
