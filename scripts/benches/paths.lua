-- wrk's own counter restarts with each run, so that the bench says where to go on.
local at, count
function init(arguments)
  at, count = tonumber(arguments[1]), tonumber(arguments[2])
end
function request()
  local path = wrk.path .. "/" .. at
  at = at + 1
  if count > 0 and at >= count then at = 0 end
  return wrk.format(nil, path)
end
