-- audit.lua: keep what a person did, or could not do, where the act's own script has not.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   2 what, JSON without its "{"   3 the whole entry that this one replaces, or ''
-- RETURNS 1 | 0 the act has had another entry: it was done, its answer got lost, and what it was done to has moved on since
-- What is replaced says that an act on many has begun. By now it may lie behind thousands of others: it is looked for by
-- LPOS, which takes half a millisecond for all 10,000 of usual size. It keeps its place and its time.
begin()
local entry, begun = ARGV[2], ARGV[3]
local at = match(begun, '^{"at":%d+,')
if at then
  local audit, whole_entry = prefix .. 'audit', at .. entry
  local index = safe('LPOS', audit, begun, 'MAXLEN', 10000)
  if index then call('LSET', audit, index, whole_entry) end
  if index or safe('LPOS', audit, whole_entry, 'MAXLEN', 10000) then return 1 end
end
local first = entry_of(entry)
if first then return sub(first, -#entry) == entry and 1 or 0 end
keep_entry(entry, (clock(ARGV[1])))
return 1
