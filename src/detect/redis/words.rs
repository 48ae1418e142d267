//! Command names, and which of them other text protocols have too. <https://redis.io/docs/latest/commands/>

/// Printable, and no request line of HTTP, RTSP or SIP (`GET` is a command here too).
pub(super) fn is_text(line: &[u8]) -> bool {
    let foreign = |word: &[u8]| FOREIGN.iter().any(|foreign| word.starts_with(foreign));
    line.iter().all(|b| matches!(b, b'\t' | b'\r' | 0x20..=0x7e | 0x80..))
        && !line.split(|b| *b == b' ').any(foreign)
}

/// The first word of a line.
pub(super) fn verb(line: &[u8]) -> &[u8] {
    line.split(|b| matches!(b, b' ' | b'\t' | b'\r')).next().unwrap_or(line)
}

/// Our own spelling of a command; modules name theirs `MODULE.COMMAND`.
pub(super) fn command(word: &[u8]) -> Option<&'static str> {
    let letter = word.first()?.to_ascii_uppercase().checked_sub(b'A')?;
    listed(COMMANDS.get(usize::from(letter))?, word).or_else(|| {
        let at = word.iter().position(|b| *b == b'.')?;
        let (module, rest) = (word.get(..at)?, word.get(at..)?);
        let sound = module.iter().all(u8::is_ascii_alphabetic)
            && rest.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'.' | b'_'))
            && (2..=NAME_BYTES_MAX).contains(&module.len())
            && (3..=NAME_BYTES_MAX).contains(&rest.len());
        sound.then_some("MODULE.COMMAND")
    })
}

/// Finds `word` in a list of words, in any case.
pub(super) fn listed(list: &'static str, word: &[u8]) -> Option<&'static str> {
    list.split(' ').find(|listed| listed.as_bytes().eq_ignore_ascii_case(word))
}

/// The other text protocols that have a command, as bits.
pub(super) fn family(name: &str) -> u8 {
    match name {
        "AUTH" | "QUIT" => POP3,
        "PING" => NATS,
        "MODULE.COMMAND" => OTHER,
        _ if listed(SHARED, name.as_bytes()).is_some() => OTHER,
        _ => 0,
    }
}

/// `+OK` and `-ERR` are replies there too.
pub(super) const POP3: u8 = 1;
/// Likewise.
pub(super) const NATS: u8 = 2;
const OTHER: u8 = 4;
const NAME_BYTES_MAX: usize = 32;
const FOREIGN: [&[u8]; 3] = [b"HTTP/", b"RTSP/", b"SIP/"];
/// Plain words, and those of memcached, STOMP, IRC, FTP, DICT, clamd, beanstalkd and shells.
pub(super) const SHARED: &str = "ACL APPEND ASKING CLIENT CLUSTER COMMAND CONFIG COPY DEBUG \
    DECR DEL DIGEST DISCARD DUMP ECHO EVAL EXEC EXISTS EXPIRE FAILOVER FUNCTION GET HELLO INCR \
    INFO KEYS LATENCY MEMORY MIGRATE MODULE MONITOR MOVE MULTI OBJECT PERSIST PUBLISH READONLY \
    RENAME RESET RESTORE ROLE SAVE SCAN SCRIPT SELECT SET SHUTDOWN SORT SUBSCRIBE SYNC TIME \
    TOUCH TYPE UNLINK UNSUBSCRIBE WAIT WATCH";
/// By first letter.
pub(super) const COMMANDS: [&str; 26] = [
    "ACL APPEND ASKING AUTH",
    "BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP BRPOP \
        BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN",
    "CLIENT CLUSTER COMMAND COMMANDLOG CONFIG COPY",
    "DBSIZE DEBUG DECR DECRBY DEL DELEX DELIFEQ DIGEST DISCARD DUMP",
    "ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIREMEMBER EXPIRETIME",
    "FAILOVER FCALL FCALL_RO FLUSHALL FLUSHDB FUNCTION",
    "GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO \
        GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET",
    "HDEL HELLO HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY \
        HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL \
        HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS",
    "INCR INCRBY INCRBYFLOAT INFO",
    "",
    "KEYS",
    "LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE \
        LREM LSET LTRIM",
    "MEMORY MGET MIGRATE MODULE MONITOR MOVE MSET MSETEX MSETNX MULTI",
    "",
    "OBJECT",
    "PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST PING PSETEX \
        PSUBSCRIBE PSYNC PTTL PUBLISH PUBSUB PUNSUBSCRIBE",
    "QUIT",
    "RANDOMKEY READONLY READWRITE RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE \
        RESTORE-ASKING ROLE RPOP RPOPLPUSH RPUSH RPUSHX",
    "SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT SENTINEL SET SETBIT SETEX SETNX \
        SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SLOWLOG SMEMBERS \
        SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN \
        SUBSCRIBE SUBSTR SUNION SUNIONSTORE SUNSUBSCRIBE SWAPDB SYNC",
    "TFCALL TFCALLASYNC TFUNCTION TIME TOUCH TTL TYPE",
    "UNLINK UNSUBSCRIBE UNWATCH",
    "VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VREM VSETATTR VSIM",
    "WAIT WAITAOF WATCH",
    "XACK XACKDEL XADD XAUTOCLAIM XCFGSET XCLAIM XDEL XDELEX XGROUP XINFO XLEN XPENDING XRANGE \
        XREAD XREADGROUP XREVRANGE XSETID XTRIM",
    "",
    "ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP \
        ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK \
        ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX \
        ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE",
];
