-- audit.lua: keep what a person did, or could not do, where the act's own script has not.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   2 what, JSON without its "{"
-- RETURNS 1 | 0 the act has had another entry: it was done, its answer got lost, and what it was done to has moved on since
-- An entry that says only that an act has begun is replaced, in its place and with its time.
begin()
local entry = ARGV[2]
local first, index = entry_of(entry)
if first and match(first, '"came_to":"begun","stamp":"%x+"}$') then
  call('LSET', prefix .. 'audit', index, match(first, '^{"at":%d+,') .. entry)
  return 1
end
if first then return sub(first, -#entry) == entry and 1 or 0 end
keep_entry(entry, (clock(ARGV[1])))
return 1
