-- A bearer token for each request, each once: with the last of them the run ends.
local tokens, at = {}, 0
function init(arguments)
  local first, count, line = tonumber(arguments[1]), tonumber(arguments[2]), 0
  for token in io.lines(arguments[3]) do
    if line >= first and #tokens < count then tokens[#tokens + 1] = token end
    line = line + 1
  end
end
function request()
  at = at + 1
  if at >= #tokens then
    at = #tokens
    wrk.thread:stop()
  end
  wrk.headers["Authorization"] = "Bearer " .. tokens[at]
  return wrk.format()
end
