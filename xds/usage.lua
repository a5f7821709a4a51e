-- Reads the figures of `fields`, which stands before this text, of an answer's one object into `namespace`. Of a stream only an event that
-- has that object is read at all, and of that only what lies on the way: its thousand other events cost a search each, and nothing is held back.
local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local name = fields[1].path[1] -- of the object, which all are in
local object = '"' .. name .. '"'
local longest = 65536 -- of what is read: not a longer line, nor the middle of a longer answer

-- behind returns where a JSON value that begins at i has ended.
local function behind(s, i)
  local depth = 0
  repeat
    local c = byte(s, i)
    if c == 34 then -- a string
      repeat
        i = find(s, '["\\]', i + 1)
        local escape = i and byte(s, i) == 92
        if escape then i = i + 1 end
      until not escape
      if not i then return nil end
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif c == 125 or c == 93 then
      depth = depth - 1
    elseif depth == 0 then -- a number or a word
      return match(s, '^[%w.+-]+()', i)
    end
    if depth <= 0 then return i + 1 end
    i = find(s, '["{}%[%]]', i + 1)
  until not i
end

-- member returns where the value of a name begins in the object that begins at i.
local function member(s, i, name)
  i = match(s, '^{%s*()', i)
  while i and byte(s, i) == 34 do
    local stop = behind(s, i)
    local value = stop and match(s, '^%s*:%s*()', stop)
    if not value then return nil end
    if sub(s, i + 1, stop - 2) == name then return value end
    i = behind(s, value)
    i = i and match(s, '^%s*,%s*()', i)
  end
end

-- wanted are the fields as the object has them.
local wanted = {}
for _, field in ipairs(fields) do
  local at, path = wanted, field.path
  for step = 2, #path - 1 do
    at[path[step]] = at[path[step]] or {}
    at = at[path[step]]
  end
  at[path[#path]] = field.key
end

-- figures reads what is wanted of the object that begins at i. A name with an escape is none of it, and ends the reading.
local function figures(metadata, text, i, wanted)
  i = match(text, '^{%s*()', i)
  while i do
    local key, value = match(text, '^"([^"\\]*)"%s*:%s*()', i)
    local want = wanted[key]
    if not key then
      return
    elseif type(want) == 'table' then
      figures(metadata, text, value, want)
    elseif want then
      local n = match(text, '^%d+', value)
      if n then metadata:set(namespace, want, tonumber(n)) end
    end
    i = behind(text, value)
    i = i and match(text, '^%s*,%s*()', i)
  end
end

local function event(h, line)
  local begin = match(line, '^data:%s*(){')
  local i = begin and member(line, begin, name)
  if i then figures(h:streamInfo():dynamicMetadata(), line, i, wanted) end
end

-- lines reads every whole line that has the object, and returns what may go on with the next chunk.
local function lines(h, text)
  local at = 1
  while true do
    local hit, stop = find(text, object, at, true)
    if not hit then break end
    if match(text, '^%s*:%s*{', stop + 1) then
      local begin, ends = hit, find(text, '\n', hit, true)
      while begin > 1 and byte(text, begin - 1) ~= 10 do begin = begin - 1 end
      if not ends then break end
      event(h, sub(text, begin, ends))
      stop = ends
    end
    at = stop + 1
  end
  local rest = #text
  if byte(text, rest) == 10 then return '' end
  while rest > 0 and byte(text, rest) ~= 10 do rest = rest - 1 end
  return rest < #text and #text - rest <= longest and sub(text, rest + 1) or ''
end

local function stream(h)
  local rest = ''
  for chunk in h:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
    rest = lines(h, rest == '' and text or rest .. text)
  end
  lines(h, rest .. '\n')
end

-- tail returns where the object begins in the end of an answer: it is the answer's own if nothing but members and one bracket follow.
local function tail(text)
  local hit, stop, from = 1, 0, nil
  while hit do
    from = stop + 1
    hit, stop = find(text, object, from, true)
  end
  local begin = from > 1 and byte(text, from - #object - 1) ~= 92 and match(text, '^%s*:%s*()', from)
  local i = begin and behind(text, begin)
  while i and not match(text, '^%s*}%s*$', i) do
    i = match(text, '^%s*,%s*()"', i)
    i = i and behind(text, i)
    i = i and match(text, '^%s*:%s*()', i)
    i = i and behind(text, i)
  end
  return i and begin
end

-- plain are the figures that an object without objects has, by key.
local plain = {}
for _, field in ipairs(fields) do
  if #field.path == 2 then plain[field.key] = '"' .. string.gsub(field.path[2], '%p', '%%%0') .. '"%s*:%s*(%d+)' end
end

-- last reads the object of an answer that ends with it, if nothing in it is an object, a list or escaped: that is the usual one, and a look for each
-- figure is enough. It returns whether that was so.
local function last(metadata, text)
  local hit, stop = find(text, object, math.max(1, #text - 256), true)
  local found = hit and byte(text, hit - 1) ~= 92 and match(text, '^%s*:%s*{([^{}%[%]\\]*)}%s*}%s*$', stop + 1)
  for key, figure in pairs(found and plain or {}) do
    local n = match(found, figure)
    if n then metadata:set(namespace, key, tonumber(n)) end
  end
  return found
end

-- whole reads an answer in one piece, which is held back until it is whole: one that breaks off is Envoy's to replace.
local function whole(h)
  local body = h:body()
  local size = body and body:length() or 0
  local skipped = math.max(0, size - longest)
  local text = size > 0 and body:getBytes(skipped, size - skipped) or ''
  if last(h:streamInfo():dynamicMetadata(), text) then return end
  local i = tail(text)
  if not i then
    text = skipped > 0 and body:getBytes(0, longest) or text
    i = match(text, '^%s*(){')
    i = i and member(text, i, name)
    i = i and behind(text, i) and i
  end
  if i then figures(h:streamInfo():dynamicMetadata(), text, i, wanted) end
end

function envoy_on_response(h)
  local kind = h:headers():get('content-type') or ''
  if find(kind, 'text/event-stream', 1, true) == 1 then
    stream(h)
  elseif find(kind, 'application/json', 1, true) == 1 then
    whole(h)
  end
end
