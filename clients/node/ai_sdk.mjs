// The Vercel AI SDK with its provider for OpenAI-compatible services, unmodified but for the base URL.
import assert from 'node:assert/strict'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, embedMany, generateText, jsonSchema, Output, streamText, tool } from 'ai'
import { badKey, deniedHeaders, env, raises, run, schema } from './suite.mjs'

const options = { name: 'sluice', baseURL: env.baseURL, apiKey: env.apiKey, includeUsage: true, supportsStructuredOutputs: true }
const sluice = createOpenAICompatible(options)
const stranger = createOpenAICompatible({ ...options, apiKey: badKey })
const hello = { model: sluice(env.model), prompt: 'hi there', maxOutputTokens: 24, maxRetries: 0 }

await run({
  async chat() {
    const r = await generateText(hello)
    assert.ok(r.text)
    assert.ok(r.usage.outputTokens > 0)
  },
  async stream() {
    const r = streamText(hello)
    let text = '', parts = 0
    for await (const part of r.textStream) {
      text += part
      parts++
    }
    assert.ok(text && parts > 1, `${parts} parts`)
    assert.ok((await r.usage).outputTokens > 0)
  },
  async tools() {
    const get_weather = tool({
      description: 'The weather in a city',
      inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }),
    })
    const r = await generateText({
      model: sluice(env.tools),
      prompt: 'What is the weather in Paris?',
      tools: { get_weather },
      toolChoice: { type: 'tool', toolName: 'get_weather' },
      maxRetries: 0,
    })
    assert.equal(r.toolCalls[0].toolName, 'get_weather')
    assert.ok('city' in r.toolCalls[0].input)
  },
  async json_schema() {
    const r = await generateText({
      ...hello,
      prompt: 'Extract the city: I live in Paris.',
      maxOutputTokens: 64,
      output: Output.object({ schema: jsonSchema(schema) }),
    })
    assert.ok(schema.properties.city.enum.includes(r.output.city))
  },
  async embeddings() {
    const r = await embedMany({ model: sluice.embeddingModel(env.embed), values: ['one', 'two'], maxRetries: 0 })
    assert.equal(r.embeddings.length, 2)
    assert.ok(r.embeddings[0].length > 8)
  },
  async bad_key() {
    await raises(APICallError, 401, () => generateText({ ...hello, model: stranger(env.model) }))
  },
  async unknown_model() {
    await raises(APICallError, 404, () => generateText({ ...hello, model: sluice('no-such-model') }))
  },
  async denied() {
    await raises(APICallError, 403, () => generateText({ ...hello, model: sluice(env.denied), headers: deniedHeaders }))
  },
})
