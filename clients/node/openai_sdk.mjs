// The official OpenAI SDK for Node, unmodified but for the base URL.
import assert from 'node:assert/strict'
import OpenAI from 'openai'
import { badKey, deniedHeaders, env, raises, run, schema } from './suite.mjs'

const options = { baseURL: env.baseURL, apiKey: env.apiKey, maxRetries: 0, timeout: 120_000 }
const client = new OpenAI(options)
const stranger = new OpenAI({ ...options, apiKey: badKey })
const messages = [{ role: 'user', content: 'hi there' }]
const hello = { model: env.model, messages, max_tokens: 24 }
const weather = {
  model: env.tools,
  messages: [{ role: 'user', content: 'What is the weather in Paris?' }],
  tools: [{
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'The weather in a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  }],
  tool_choice: { type: 'function', function: { name: 'get_weather' } },
}

await run({
  async chat() {
    const r = await client.chat.completions.create(hello)
    assert.equal(r.object, 'chat.completion')
    assert.ok(r.choices[0].message.content)
    assert.ok(['stop', 'length'].includes(r.choices[0].finish_reason))
    assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens)
  },
  async stream() {
    let text = '', finish, events = 0
    for await (const chunk of await client.chat.completions.create({ ...hello, stream: true })) {
      events++
      assert.ok(chunk.choices.length, 'a usage chunk that nobody asked for')
      text += chunk.choices[0].delta.content ?? ''
      finish = chunk.choices[0].finish_reason ?? finish
    }
    assert.ok(text && events > 1)
    assert.ok(['stop', 'length'].includes(finish))
  },
  async stream_usage() {
    const usage = []
    for await (const chunk of await client.chat.completions.create({ ...hello, stream: true, stream_options: { include_usage: true } })) {
      if (chunk.usage) usage.push(chunk.usage)
    }
    assert.equal(usage.length, 1)
    assert.ok(usage[0].completion_tokens > 0)
  },
  async tools() {
    const r = await client.chat.completions.create(weather)
    const call = r.choices[0].message.tool_calls[0]
    assert.equal(call.function.name, 'get_weather')
    assert.ok('city' in JSON.parse(call.function.arguments))
  },
  async tools_stream() {
    const call = (await client.chat.completions.stream(weather).finalChatCompletion()).choices[0].message.tool_calls[0]
    assert.equal(call.function.name, 'get_weather')
    assert.ok('city' in JSON.parse(call.function.arguments))
  },
  async json_schema() {
    const r = await client.chat.completions.parse({
      model: env.model,
      messages: [{ role: 'user', content: 'Extract the city: I live in Paris.' }],
      max_tokens: 64,
      response_format: { type: 'json_schema', json_schema: { name: 'place', strict: true, schema } },
    })
    const place = JSON.parse(r.choices[0].message.content)
    assert.ok(schema.properties.city.enum.includes(place.city))
    assert.equal(typeof place.capital, 'boolean')
  },
  async embeddings() {
    const packed = await client.embeddings.create({ model: env.embed, input: ['one', 'two'] })
    const plain = await client.embeddings.create({ model: env.embed, input: ['one', 'two'], encoding_format: 'float' })
    assert.deepEqual(packed.data.map((d) => d.index), [0, 1])
    assert.ok(packed.data[0].embedding.length > 8)
    assert.equal(packed.data[1].embedding.length, plain.data[0].embedding.length)
  },
  async models() {
    const ids = []
    for await (const m of client.models.list()) ids.push(m.id)
    assert.ok(ids.includes(env.model) && ids.includes(env.embed), ids.join(' '))
  },
  async model() {
    assert.equal((await client.models.retrieve(env.model)).id, env.model)
  },
  async bad_key() {
    await raises(OpenAI.AuthenticationError, 401, () => stranger.chat.completions.create(hello))
    await raises(OpenAI.AuthenticationError, 401, () => stranger.models.list())
  },
  async unknown_model() {
    const err = await raises(OpenAI.NotFoundError, 404, () => client.chat.completions.create({ ...hello, model: 'no-such-model' }))
    assert.equal(err.code, 'model_not_found')
  },
  async bad_body() {
    const duplicate = `{"model":"${env.model}","messages":[],"mod\\u0065l":"other"}`
    const headers = { 'content-type': 'application/json' }
    const err = await raises(OpenAI.BadRequestError, 400, () => client.post('/chat/completions', { body: duplicate, headers }))
    assert.equal(err.type, 'invalid_request_error')
  },
  async abort() {
    const stream = await client.chat.completions.create({ ...hello, max_tokens: 512, stream: true })
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content) break // leaving the loop aborts the request
    }
    assert.ok(stream.controller.signal.aborted)
  },
  async denied() {
    const err = await raises(OpenAI.PermissionDeniedError, 403, () =>
      client.chat.completions.create({ ...hello, model: env.denied }, { headers: deniedHeaders }))
    assert.equal(err.code, 'policy_denied')
  },
  async limited() {
    let asked = 0
    const counting = (...args) => (asked++, fetch(...args))
    const patient = new OpenAI({ ...options, maxRetries: 3, fetch: counting })
    for (let i = 1; i <= 40; i++) { // more than the limit lets through at once
      const r = await patient.chat.completions.create({ ...hello, model: env.limited, max_tokens: 4 })
      assert.ok(r.choices.length)
      if (asked > i) return assert.equal(asked, i + 1, 'it came back when it was told to, and not before')
    }
    assert.fail('never limited')
  },
})
