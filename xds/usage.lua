-- Reads the figures of `fields`, which stands before this text, from a stream's events into `namespace`. Only an event that has the object of the
-- figures is read at all, and of that only what lies on the way: a stream's thousand other events cost a search each.
local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local longest = 65536 -- of a line: a longer one is not read

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

local function event(h, line)
  local begin = match(line, '^data:%s*(){')
  for _, field in ipairs(begin and fields or {}) do
    local i = begin
    for _, name in ipairs(field.path) do
      i = i and member(line, i, name)
    end
    local n = i and tonumber(match(line, '^%d+', i))
    if n then h:streamInfo():dynamicMetadata():set(namespace, field.key, n) end
  end
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

function envoy_on_response(h)
  if find(h:headers():get('content-type') or '', 'text/event-stream', 1, true) ~= 1 then return end
  local rest = ''
  for chunk in h:bodyChunks() do
    local text = chunk:getBytes(0, chunk:length())
    rest = lines(h, rest == '' and text or rest .. text)
  end
  lines(h, rest .. '\n')
end
