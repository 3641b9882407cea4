-- vet.lua: may this user do all that the scripts do? Each command is tried on one string of its own. Whoever lacks the right
-- to a command is told so before its type is looked at; of all others most fail for the type, and so nothing is written.
-- KEYS    1 prefix
-- ARGV    1 a name that nobody else has
-- RETURNS {{seconds, µs} of Redis's clock or false, then command and error of each that failed}
local key, reply = prefix .. 'vet:' .. ARGV[1], {}
local function try(command, ...)
  local said = redis.pcall(command, ...)
  if type(said) ~= 'table' or not said.err then return said end
  reply[#reply + 1] = command
  reply[#reply + 1] = said.err
end
table.insert(reply, 1, try('TIME') or false)
try('SREM', key, '')                           -- as the scripts begin, for the sake of a full memory
if not try('SET', key, '', 'PX', 1000) then return reply end -- else what follows would make lists and sets
for _, command in ipairs({ 'GET', 'STRLEN', 'MGET', 'EXISTS', 'PTTL' }) do try(command, key) end
for _, command in ipairs({ 'LLEN', 'LPOP', 'SCARD', 'SMEMBERS', 'SPOP', 'HLEN', 'HGETALL' }) do try(command, key) end
for _, command in ipairs({ 'LPUSH', 'RPUSH', 'SADD', 'SMISMEMBER', 'HGET', 'HMGET', 'HDEL', 'ZSCORE', 'ZREM' }) do
  try(command, key, 'x')
end
for _, command in ipairs({ 'GETRANGE', 'LRANGE', 'ZRANGE', 'ZRANGEBYSCORE', 'ZREVRANGEBYSCORE' }) do
  try(command, key, 0, 0)
end
try('LTRIM', key, 0, 0)
try('SETRANGE', key, 0, '')
try('HSET', key, 'x', 'x')
try('HINCRBY', key, 'x', 1)
try('ZADD', key, 1, 'x')
try('RENAME', key, key)
try('PEXPIRE', key, 1000)
try('PUBLISH', key, '') -- a channel of that name
try('DEL', key)
return reply
