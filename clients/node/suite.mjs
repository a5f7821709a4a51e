// Runs the checks of one suite in order: one line a check, a summary, and exit 1 at the first failure.
import assert from 'node:assert/strict'

export const env = {
  baseURL: process.env.SLUICE_BASE_URL ?? 'http://127.0.0.1:8080/v1',
  apiKey: process.env.SLUICE_API_KEY ?? 'none',
  model: process.env.SLUICE_MODEL ?? 'auto',
  embed: process.env.SLUICE_EMBED_MODEL ?? 'embed',
  tools: process.env.SLUICE_TOOLS_MODEL ?? 'tools',
  denied: process.env.SLUICE_DENIED_MODEL ?? '',
  limited: process.env.SLUICE_LIMITED_MODEL ?? '',
}
export const deniedHeaders = { 'x-data-class': 'private' }
export const badKey = 'slc_nobody_0000000000000000'
export const schema = {
  type: 'object',
  properties: { city: { type: 'string', enum: ['Paris', 'London'] }, capital: { type: 'boolean' } },
  required: ['city', 'capital'],
  additionalProperties: false,
}

// checks is an object of name to async function; arguments on the command line pick some by name.
export async function run(checks) {
  const wanted = process.argv.slice(2)
  let passed = 0
  for (const [name, check] of Object.entries(checks)) {
    if ((name in env && !env[name]) || (wanted.length && !wanted.includes(name))) continue
    try {
      await check()
    } catch (err) {
      console.error(err)
      console.log(`FAIL ${name}\n${passed} passed, 1 failed`)
      process.exit(1)
    }
    passed++
    console.log(`ok ${name}`)
  }
  console.log(`${passed} passed, 0 failed`)
}

// raises wants the exception type a user would catch, with its status, and returns it.
export async function raises(kind, status, call) {
  let got
  try {
    await call()
  } catch (err) {
    got = err
  }
  assert.ok(got, `no ${kind.name}`)
  assert.ok(got instanceof kind, `${got?.constructor?.name}, want ${kind.name}: ${got}`)
  assert.equal(got.status ?? got.statusCode, status, String(got))
  return got
}
