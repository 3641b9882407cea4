-- cancel.lua: mark a running job to be stopped, and tell its worker. Only the worker writes the outcome.
-- KEYS    1 prefix
-- ARGV    1 id   2 its generation   3... lines that its ticket may name
-- RETURNS 1 marked | 0 no worker holds it
local id = ARGV[1]
local worker = holder(ARGV[2], id, 3)
if not worker then return 0 end
begin()
safe('HSET', prefix .. 'cancels', id, worker)
publish('control:' .. worker, id)
return 1
