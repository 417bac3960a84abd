-- A method and a content that each request has. wrk knows no QUERY; but it looks at the first request alone,
-- which it doesn't send.
local checked, sent
function init(arguments)
  wrk.method, wrk.body = arguments[1], arguments[2]
  checked, sent = wrk.format("POST"), wrk.format()
end
function request()
  local first = checked or sent
  checked = nil
  return first
end
