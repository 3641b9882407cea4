-- cancel.lua: mark a running job to be stopped, and tell its worker. Only the worker writes the outcome.
-- KEYS    1 prefix
-- ARGV    1 id   2 its generation   3 for the audit, or ""   4... lines that its ticket may name
-- RETURNS 1 marked | 0 no worker holds it
local id = ARGV[1]
local worker = holder(ARGV[2], id, 4)
if not worker then return 0 end
begin()
safe('HSET', prefix .. 'cancels', id, worker)
publish('control:' .. worker, id)
audited(ARGV[3], (clock('0')))
return 1
