-- For wrk: each request has a path of its own, so that no line of a log stands for another one.
-- Arguments: a word for the paths, and how many milliseconds a connection waits between two requests.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(arguments)
  word, pause_ms, sent = arguments[1], tonumber(arguments[2]), 0
  agents = { "Mozilla/5.0 (X11; Linux x86_64)", 'a "quoted" \\ one', "Zo\xc3\xab" }
end

function request()
  sent = sent + 1
  local path = "/" .. word .. "/" .. number .. "/" .. sent
  return wrk.format("GET", path, { ["User-Agent"] = agents[sent % #agents + 1] })
end

function delay()
  return pause_ms
end
