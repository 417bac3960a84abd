-- A method and a content that each request has.
function init(arguments)
  wrk.method, wrk.body = arguments[1], arguments[2]
end
