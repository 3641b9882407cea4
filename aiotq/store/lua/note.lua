-- note.lua: what jobs have written of late: lines of their logs, and how far they are. Only of jobs that the worker holds.
-- It does not begin as the others do: at maxmemory it is refused, and costs lines.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 lines kept of a job   3 bytes kept of a job   4 number of jobs
--         then each job: ticket, TTL in ms, progress or "", claim number, number of lines, and two a line: its number in that
--         claim, and its JSON without the last brace. Lines that are there already are not written again
-- RETURNS {a byte a job ("1" noted, "0" the worker does not hold it, or it has no record), {garbage keys...}}
local active, waited_for = prefix .. 'active:' .. ARGV[1], call('EXISTS', prefix .. 'waits') == 1
local MOST_LINES, MOST_BYTES, jobs = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- The end of a stored line: claim, number in it; number and bytes of all lines that the job has written so far.
local find, TAIL = string.find, ',"k":"(%d+):(%d+):(%d+):(%d+)"}$'
local tickets, places, at = {}, {}, 5
for i = 1, jobs do
  tickets[i], places[i] = ARGV[at], at
  at = at + 5 + 2 * ARGV[at + 4]
end

-- The last line of a job's log, or nil. One of an earlier job of the same id is dropped, what is no log is put aside.
local function last_of(log, far, enqueued_ms)
  local last = safe('LRANGE', log, -1, -1)[1]
  if not last then return nil end
  if not match(last, TAIL) then
    call('RENAME', log, prefix .. 'aside:' .. sub(log, #prefix + 1))
    call('PEXPIRE', prefix .. 'aside:' .. sub(log, #prefix + 1), ASIDE_TTL_MS)
    garbage[#garbage + 1] = log
    return nil
  end
  if tonumber(match(last, '^{"at":(%d+)') or 0) < enqueued_ms then
    call('DEL', log, far)
    return nil
  end
  return last
end

-- Add the lines of the job whose arguments begin there, and let the oldest go if there are too many.
local function write(log, last, first)
  local claim, rows = ARGV[first + 3], {}
  local was, seen, number, bytes = match(last or '', TAIL)
  seen = was == claim and tonumber(seen) or 0
  number, bytes = tonumber(number or 0), tonumber(bytes or 0)
  for j = first + 5, first + 3 + 2 * ARGV[first + 4], 2 do
    local nth, text = tonumber(ARGV[j]), ARGV[j + 1]
    if nth > seen then
      number, bytes, seen = number + nth - seen, bytes + #text, nth
      rows[#rows + 1] = text .. string.format(',"k":"%s:%.0f:%.0f:%.0f"}', claim, nth, number, bytes)
    end
  end
  if #rows == 0 then return end
  local length = call('RPUSH', log, unpack(rows))
  local head = call('LRANGE', log, 0, 0)[1]
  local start, _, _, _, _, upto = find(head, TAIL)
  local kept = start and bytes - upto + start - 1 or 0
  for _ = 1, #rows + MOST_LINES do
    if length <= 1 or (length <= MOST_LINES and kept <= MOST_BYTES) then return end
    upto = select(4, match(call('LPOP', log), TAIL))
    length, kept = length - 1, upto and bytes - upto or kept
  end
end

local mine, flags = jobs > 0 and safe('SMISMEMBER', active, unpack(tickets)) or {}, {}
for i = 1, jobs do
  local _, _, _, job_id = parse(tickets[i])
  local enqueued_ms = mine[i] == 1 and job_id and tonumber(safe('GETRANGE', prefix .. 'job:' .. job_id, 6, 18))
  if enqueued_ms then
    local log, far, first = prefix .. 'note:' .. job_id, prefix .. 'progress:' .. job_id, places[i]
    write(log, last_of(log, far, enqueued_ms), first)
    local ttl_ms, said = ARGV[first + 1], ARGV[first + 2]
    if said ~= '' then
      call('SET', far, said, 'PX', ttl_ms)
      if waited_for then publish('progress:' .. job_id, said) end
    else
      call('PEXPIRE', far, ttl_ms)
    end
    call('PEXPIRE', log, ttl_ms)
  end
  flags[i] = enqueued_ms and '1' or '0'
end
return { table.concat(flags), garbage }
