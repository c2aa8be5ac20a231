//! What is known about commands: where their keys are, or which nodes they are for.
//!
//! Source: `COMMAND INFO` of redis-server 7.0 and 8.2 (key specifications, `request_policy` and
//! `response_policy`); `tests/model/tests/keys.rs` compares each row with it. JSON, search, time series and
//! probabilistic structures have words of a module, which [Redis's
//! documentation](https://redis.io/docs/latest/commands/) describes. Those that find keys by an index or by
//! labels have no keys: the node that gets them asks the others.

use super::route::Merge;

/// Where the keys of a command are, by the indexes of its words, its name being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nowhere: any primary will do.
    Keyless,
    /// Nowhere: it is for all primaries.
    All(Merge),
    /// Nowhere: it is about the node that gets it.
    OneNode,
    /// It isn't sent to a cluster.
    Refused,
    /// The table has it with its second word; with another one, it has no keys.
    Container,
    /// From `first` to `last`, each `step`. A negative last one counts from the end.
    Range { first: u8, last: i8, step: u8 },
    /// The same, up to the end, for words that may be divided: one command for each slot.
    Divisible { step: u8, merge: Merge },
    /// Behind the word `number`, which says how many, each `step`.
    Counted { number: u8, step: u8 },
    /// The same behind the word 2, and the word 1.
    CountedInto,
    /// The first half of what is behind `STREAMS`, which is not before `from`.
    Streams { from: u8 },
    /// The word 1, and the one behind `STORE`.
    Sort,
    /// The word 1, and the one behind `STORE` or `STOREDIST`, which are not before `from`.
    Radius { from: u8 },
}

use Shape::{
    All, Container, Counted, CountedInto, Divisible, Keyless, OneNode, Radius, Range, Refused,
    Sort, Streams,
};

/// One key, at this index.
const fn one(at: u8) -> Shape {
    Range { first: at, last: at as i8, step: 1 }
}

const PAIR: Shape = Range { first: 1, last: 2, step: 1 };

const REST: Shape = Range { first: 1, last: -1, step: 1 };

/// The words, by shape. A container's are as the server writes them.
const ROWS: [(Shape, &str); 30] = [
    (
        one(1),
        "APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS DECR DECRBY DUMP EXPIRE EXPIREAT EXPIRETIME \
         GEOADD GEODIST GEOHASH GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT \
         GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL \
         HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT \
         HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY \
         INCRBYFLOAT LINDEX LINSERT LLEN LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MOVE \
         PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PSETEX PTTL RESTORE RPOP RPUSH RPUSHX SADD \
         SCARD SET SETBIT SETEX SETNX SETRANGE SISMEMBER SMEMBERS SMISMEMBER SORT_RO SPOP SPUBLISH \
         SRANDMEMBER SREM SSCAN STRLEN SUBSTR TTL TYPE VADD VCARD VDIM VEMB VGETATTR VINFO \
         VISMEMBER VLINKS VRANDMEMBER VREM VSETATTR VSIM XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL \
         XDELEX XLEN XPENDING XRANGE XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT \
         ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM \
         ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE \
         ZREVRANK ZSCAN ZSCORE \
         JSON.ARRAPPEND JSON.ARRINDEX JSON.ARRINSERT JSON.ARRLEN JSON.ARRPOP JSON.ARRTRIM \
         JSON.CLEAR JSON.DEL JSON.FORGET JSON.GET JSON.MERGE JSON.NUMINCRBY JSON.NUMMULTBY \
         JSON.OBJKEYS JSON.OBJLEN JSON.RESP JSON.SET JSON.STRAPPEND JSON.STRLEN JSON.TOGGLE \
         JSON.TYPE TS.ADD TS.ALTER TS.CREATE TS.DECRBY TS.DEL TS.GET TS.INCRBY TS.INFO TS.RANGE \
         TS.REVRANGE \
         BF.ADD BF.CARD BF.DEBUG BF.EXISTS BF.INFO BF.INSERT BF.LOADCHUNK BF.MADD BF.MEXISTS \
         BF.RESERVE BF.SCANDUMP CF.ADD CF.ADDNX CF.COMPACT CF.COUNT CF.DEBUG CF.DEL CF.EXISTS \
         CF.INFO CF.INSERT CF.INSERTNX CF.LOADCHUNK CF.MEXISTS CF.RESERVE CF.SCANDUMP CMS.INCRBY \
         CMS.INFO CMS.INITBYDIM CMS.INITBYPROB CMS.QUERY TOPK.ADD TOPK.COUNT TOPK.INCRBY \
         TOPK.INFO TOPK.LIST TOPK.QUERY TOPK.RESERVE TDIGEST.ADD TDIGEST.BYRANK \
         TDIGEST.BYREVRANK TDIGEST.CDF TDIGEST.CREATE TDIGEST.INFO TDIGEST.MAX TDIGEST.MIN \
         TDIGEST.QUANTILE TDIGEST.RANK TDIGEST.RESET TDIGEST.REVRANK TDIGEST.TRIMMED_MEAN \
         FT.SUGADD FT.SUGDEL FT.SUGGET FT.SUGLEN",
    ),
    (
        PAIR,
        "BLMOVE BRPOPLPUSH COPY GEOSEARCHSTORE LCS LMOVE RENAME RENAMENX RPOPLPUSH SMOVE \
         ZRANGESTORE TS.CREATERULE TS.DELETERULE",
    ),
    (
        REST,
        "PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SSUBSCRIBE SUNION SUNIONSTORE \
         SUNSUBSCRIBE WATCH",
    ),
    (Divisible { step: 1, merge: Merge::Sum }, "DEL EXISTS TOUCH UNLINK"),
    (Divisible { step: 1, merge: Merge::InPlace }, "MGET"),
    (Divisible { step: 2, merge: Merge::EachOk }, "MSET"),
    (Range { first: 1, last: -1, step: 2 }, "MSETNX"),
    (Range { first: 1, last: -1, step: 3 }, "JSON.MSET TS.MADD"),
    (Range { first: 1, last: -2, step: 1 }, "BLPOP BRPOP BZPOPMAX BZPOPMIN JSON.MGET"),
    (Range { first: 2, last: -1, step: 1 }, "BITOP"),
    (
        one(2),
        "DEBUG|OBJECT JSON.DEBUG|MEMORY MEMORY|USAGE OBJECT|ENCODING OBJECT|FREQ OBJECT|IDLETIME OBJECT|REFCOUNT \
         XGROUP|CREATE XGROUP|CREATECONSUMER XGROUP|DELCONSUMER XGROUP|DESTROY XGROUP|SETID \
         XINFO|CONSUMERS XINFO|GROUPS XINFO|STREAM",
    ),
    (Counted { number: 1, step: 1 }, "LMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZMPOP ZUNION"),
    (
        Counted { number: 2, step: 1 },
        "BLMPOP BZMPOP EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO",
    ),
    (Counted { number: 1, step: 2 }, "MSETEX"),
    (CountedInto, "CMS.MERGE TDIGEST.MERGE ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"),
    (Streams { from: 1 }, "XREAD"),
    (Streams { from: 4 }, "XREADGROUP"),
    (Sort, "SORT"),
    (Radius { from: 5 }, "GEORADIUSBYMEMBER"),
    (Radius { from: 6 }, "GEORADIUS"),
    (
        Container,
        "ACL CLIENT CLUSTER COMMAND CONFIG DEBUG FUNCTION JSON.DEBUG LATENCY MEMORY OBJECT PUBSUB SCRIPT \
         SLOWLOG XGROUP XINFO",
    ),
    (
        Keyless,
        "AUTH DISCARD ECHO EXEC HELLO INFO LASTSAVE LOLWUT MULTI PING PSUBSCRIBE PUBLISH \
         PUNSUBSCRIBE QUIT RANDOMKEY RESET ROLE SELECT SUBSCRIBE TIME UNSUBSCRIBE UNWATCH \
         FT._LIST FT.AGGREGATE FT.ALIASADD FT.ALIASDEL FT.ALIASUPDATE FT.ALTER FT.CONFIG FT.CREATE \
         FT.DICTADD FT.DICTDEL FT.DICTDUMP FT.DROPINDEX FT.EXPLAIN FT.EXPLAINCLI FT.HYBRID \
         FT.INFO FT.PROFILE FT.SEARCH FT.SPELLCHECK FT.SYNDUMP FT.SYNUPDATE FT.TAGVALS TS.MGET \
         TS.MRANGE TS.MREVRANGE TS.QUERYINDEX TS.QUERYLABELS",
    ),
    (All(Merge::Sum), "DBSIZE SLOWLOG|LEN"),
    (All(Merge::Least), "WAIT WAITAOF"),
    (All(Merge::Concatenate), "KEYS PUBSUB|SHARDCHANNELS"),
    (All(Merge::And), "SCRIPT|EXISTS"),
    (All(Merge::OneOk), "FUNCTION|KILL SCRIPT|KILL"),
    (
        All(Merge::EachOk),
        "ACL|DELUSER ACL|SAVE ACL|SETUSER CONFIG|RESETSTAT CONFIG|REWRITE CONFIG|SET FLUSHALL FLUSHDB \
         FUNCTION|DELETE FUNCTION|FLUSH FUNCTION|LOAD FUNCTION|RESTORE SCRIPT|FLUSH SCRIPT|LOAD \
         SLOWLOG|RESET",
    ),
    // A cursor is known where it was made.
    (OneNode, "ASKING FT.CURSOR READONLY READWRITE SCAN"),
    (Refused, "MIGRATE"),
];

/// No word is longer.
const LONGEST: usize = 21;

/// The bytes that the words take, and one for each of them.
const SIZE: usize = {
    let (mut size, mut row) = (0, 0);
    #[allow(clippy::indexing_slicing, reason = "when this is compiled")]
    while row < ROWS.len() {
        size += ROWS[row].1.len() + 1;
        row += 1;
    }
    size
};

/// The words by their lengths, so that few are compared: the index of the shape, and the word.
struct Table {
    words: [u8; SIZE],
    /// Where the words of each length begin.
    starts: [u16; LONGEST + 2],
}

static TABLE: Table = table();

static SHAPES: [Shape; ROWS.len()] = {
    let (mut shapes, mut row) = ([Keyless; ROWS.len()], 0);
    #[allow(clippy::indexing_slicing, reason = "when this is compiled")]
    while row < ROWS.len() {
        shapes[row] = ROWS[row].0;
        row += 1;
    }
    shapes
};

#[allow(clippy::indexing_slicing, clippy::panic, reason = "when this is compiled")]
const fn table() -> Table {
    let (mut words, mut starts) = ([0; SIZE], [0; LONGEST + 2]);
    let (mut len, mut size) = (1, 0);
    while len <= LONGEST {
        starts[len] = size as u16;
        let mut row = 0;
        while row < ROWS.len() {
            let text = ROWS[row].1.as_bytes();
            let mut start = 0;
            let mut at = 0;
            while at <= text.len() {
                if at == text.len() || text[at] == b' ' {
                    assert!(at - start <= LONGEST);
                    if at - start == len {
                        words[size] = row as u8;
                        size += 1;
                        while start < at {
                            words[size] = text[start];
                            (size, start) = (size + 1, start + 1);
                        }
                    }
                    start = at + 1;
                }
                at += 1;
            }
            row += 1;
        }
        len += 1;
    }
    starts[len] = size as u16;
    assert!(size == SIZE);
    Table { words, starts }
}

/// The shape of the command with this name and this second word. `None` if it isn't known.
pub(super) fn shape(name: &[u8], second: &[u8]) -> Option<Shape> {
    match find(name)? {
        Container => {
            let mut both = [0; LONGEST];
            let parts = name.iter().chain(b"|").chain(second);
            let len = name.len() + 1 + second.len();
            for (to, from) in both.iter_mut().zip(parts) {
                *to = *from;
            }
            Some(both.get(..len).and_then(find).unwrap_or(Keyless))
        }
        shape => Some(shape),
    }
}

fn find(word: &[u8]) -> Option<Shape> {
    let begins = |len: usize| TABLE.starts.get(len).map(|start| usize::from(*start));
    let range = begins(word.len())?..begins(word.len() + 1)?;
    let mut records = TABLE.words.get(range)?.chunks_exact(word.len() + 1);
    let row = records.find_map(|record| {
        let (row, known) = record.split_first()?;
        known.eq_ignore_ascii_case(word).then_some(*row)
    })?;
    SHAPES.get(usize::from(row)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    #[test]
    fn each_word_has_its_own_row_and_only_one() {
        let mut seen = HashSet::new();
        for (shape, words) in ROWS {
            for word in words.split_whitespace() {
                assert!(seen.insert(word), "{word} is there twice");
                assert_eq!(find(word.as_bytes()), Some(shape), "{word}");
                assert_eq!(find(word.to_lowercase().as_bytes()), Some(shape), "{word}");
                let (name, second) = word.split_once('|').unwrap_or((word, ""));
                let whole = super::shape(name.as_bytes(), second.as_bytes());
                let expected = if shape == Container { Keyless } else { shape };
                assert_eq!(whole, Some(expected), "{word}");
            }
        }
        assert_eq!(TABLE.words.len(), seen.iter().map(|word| word.len() + 1).sum::<usize>());
    }

    #[test]
    fn other_words_are_not_found() {
        for word in ["", "G", "GETS", "GE", "GET ", "ZREMRANGEBYSCOREWITHMORELETTERS", "\u{e9}"] {
            assert_eq!(find(word.as_bytes()), None, "{word}");
        }
        let long = std::vec![b'X'; 70_000];
        assert_eq!(find(&long), None);
        assert_eq!(shape(b"SCRIPT", &long), Some(Keyless));
        assert_eq!(shape(b"script", b"load"), Some(All(Merge::EachOk)));
        let names: Vec<_> =
            ["EXISTS", "Kill"].map(|second| shape(b"SCRIPT", second.as_bytes())).into();
        assert_eq!(names, [Some(All(Merge::And)), Some(All(Merge::OneOk))]);
    }
}
