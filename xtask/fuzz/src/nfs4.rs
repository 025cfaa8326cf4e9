//! The target `nfs4`: COMPOUNDs of several clients, whole and damaged, with time that passes. Whichever operation stops, the results
//! are the same.

use super::{SEEDS, TREE};
use cases::calls::{Auth, head, record};
use cases::nfs4::{
    FORE, Op, Results, bitmap, compound, create_session, exchange_id, getattr, lookup, op, opaque,
    read, readdir, status, with,
};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use stowaway::engine::nfs4::word_count;
use stowaway::engine::testing::tree::Tree;
use stowaway::engine::testing::{Bench, replies};
use stowaway::mem;
use stowaway::time::Duration;

/// Clients of the tables: few, so that they are full soon.
const CLIENTS: usize = 4;

thread_local! {
    /// The tables, which are never freed.
    static TABLES: &'static [AtomicU32] = mem::words(word_count(CLIENTS));
}

/// The bytes of an input; then zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u32 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        (*byte).into()
    }

    fn below(&mut self, count: usize) -> usize {
        self.next() as usize % count
    }
}

/// A client, with its last session.
#[derive(Clone, Copy, Default)]
struct Client {
    id: [u32; 2],
    session: [u32; 4],
    sequences: [u32; 4],
}

/// One run of an input.
struct Run {
    bench: Bench,
    clients: [Client; 3],
    xid: u32,
    /// The results of each COMPOUND; empty if the call was rejected.
    results: Vec<Vec<u8>>,
}

impl Run {
    fn new(stops_after: Option<u32>) -> Self {
        let tables = TABLES.with(|tables| *tables);
        tables
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        let mut bench = Bench::new(TREE.with(Tree::copy), &mut []);
        bench.offer_version_4(tables);
        bench.tree.host.stops_after.set(stops_after);
        Self {
            bench,
            clients: [Client::default(); 3],
            xid: 0,
            results: Vec::new(),
        }
    }

    /// The operation with this number, whole.
    fn operation(&self, number: usize, client: &Client, bytes: &mut Bytes<'_>) -> Op {
        let session = &client.session[..];
        let word = bytes.next();
        match number {
            0 => vec![op::PUTROOTFH],
            1 => lookup("export"),
            2 => lookup(
                ["hello", "dir", "inner", "many", "link", "big", "", ".."][word as usize % 8],
            ),
            3 => vec![[op::GETFH, op::SAVEFH, op::RESTOREFH, op::LOOKUPP][word as usize % 4]],
            4 => getattr(&[word % 80, 1, 3, 8, 19, 20, 36, 42]),
            5 => readdir(u64::from(word % 9), 300 + word * 100, &[1, 11, 19, 20]),
            6 => read(0, word, word * 300),
            7 => with(op::PUTFH, &opaque(&[word as u8; 28])),
            8 => with(op::ACCESS, &[word]),
            9 => with(op::SECINFO, &opaque(b"hello")),
            10 => with(op::SECINFO_NO_NAME, &[word % 3]),
            11 => with(op::VERIFY, &[&bitmap(&[1])[..], &[4, word % 4]].concat()),
            12 => with(op::TEST_STATEID, &[2, 0, 0, 0, 0, 1, 2, 3, 4]),
            13 => with(op::RECLAIM_COMPLETE, &[word % 2]),
            14 => with(
                op::BIND_CONN_TO_SESSION,
                &[session, &[word % 9, 0]].concat(),
            ),
            15 => with(op::DESTROY_SESSION, session),
            16 => exchange_id(["a", "b", "c"][word as usize % 3], word / 128, 0),
            17 => create_session(client.id, 1 + word % 4, &FORE),
            18 => with(op::DESTROY_CLIENTID, &client.id),
            19 => vec![op::READLINK],
            _ => vec![word],
        }
    }

    /// Makes the next COMPOUND of an input.
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let who = bytes.below(4);
        if who == 3 {
            let passed = Duration::from_ms(bytes.next() * 300);
            self.bench.now = self.bench.now.after(passed);
            return;
        }
        let (client, shape) = (self.clients[who], bytes.next());
        let (slot, keep) = (bytes.below(4), shape & 1);
        let mut ops = Vec::new();
        let sequence = client.sequences[slot].wrapping_add(shape >> 1 & 1);
        if shape & 0xc != 0 {
            let rest = [&client.session[..], &[sequence, slot as u32, 3, keep]].concat();
            ops.push(with(op::SEQUENCE, &rest));
        }
        for _ in 0..(shape >> 4) % 8 {
            let number = bytes.below(21);
            ops.push(self.operation(number, &client, bytes));
        }
        if bytes.below(4) == 0 && !ops.is_empty() {
            let at = bytes.below(ops.len());
            damage(&mut ops[at], bytes);
        }
        let results = self.ask(who as u32, &ops);
        let Some(parsed) = results else { return };
        let client = &mut self.clients[who];
        if let Some((op::SEQUENCE, status::OK)) = parsed.done.first() {
            client.sequences[slot] = sequence;
        }
        match parsed.done.last() {
            Some((op::EXCHANGE_ID, status::OK)) => client.id.copy_from_slice(&parsed.last[..2]),
            Some((op::CREATE_SESSION, status::OK)) => {
                client.session.copy_from_slice(&parsed.last[..4]);
                client.sequences = [0; 4];
            }
            _ => {}
        }
    }

    /// Sends a COMPOUND on a new connection. `None`: it is rejected, because it is malformed before its operations.
    fn ask(&mut self, user: u32, ops: &[Op]) -> Option<Results> {
        self.xid += 1;
        let mut message = head(
            self.xid,
            2,
            (100_003, 4, 1),
            &Auth::sys(b"box", user, 100, &[]),
        );
        message.extend(compound(1, ops));
        let talk = self.bench.send_pieces(&record(&message), || usize::MAX);
        assert_eq!(talk.closed, None);
        assert_eq!(self.bench.tree.ram().pinned, 0, "a pin was kept");
        let reply = replies::records(&talk.output).expect("whole records");
        let results = reply[0].get(24..).unwrap_or_default().to_vec();
        let parsed = (!results.is_empty()).then(|| Results::parse(&results).expect("strict XDR"));
        self.results.push(results);
        parsed
    }
}

/// Changes a word of an operation, cuts words off or adds one.
fn damage(operation: &mut Op, bytes: &mut Bytes<'_>) {
    let at = bytes.below(operation.len());
    match bytes.below(5) {
        0 => operation.truncate(at),
        1 => operation[at] ^= 1 << bytes.below(32),
        2 => operation[at] = bytes.next(),
        3 => operation[at] = u32::MAX,
        _ => operation.push(bytes.next()),
    }
}

/// Plays an input: the operation that stops, then COMPOUNDs.
pub fn play(input: &[u8]) {
    let Some((stops_after, script)) = input.split_first() else {
        return;
    };
    let run = |stops_after| {
        let mut run = Run::new(stops_after);
        let mut bytes = Bytes(script);
        while !bytes.0.is_empty() {
            run.step(&mut bytes);
        }
        run
    };
    let whole = run(None);
    let stopped = run(Some((*stops_after).into()));
    // A reply that is already long is not held: its next operation gets DELAY.
    let same = whole.results.iter().zip(&stopped.results);
    let first = same.skip_while(|(whole, stopped)| whole == stopped).next();
    let delayed = first.is_none_or(|(_, stopped)| {
        stopped.starts_with(&status::DELAY.to_be_bytes()) && stopped.len() > 4000
    });
    assert!(delayed, "another result after a stop");
}

/// Writes scripts to the directory in [`SEEDS`]: of each operation after the making of a session.
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(SEEDS) else {
        return;
    };
    // A client, a session, then a COMPOUND of SEQUENCE, the way to the export, and two operations.
    let begin = [0, 0x10, 0, 16, 0, 1, 0, 0x10, 0, 17, 0, 1];
    for number in 0..21 {
        let way = [0, 0x67, 0, 0, 0, 1, 0, 2, number, number, 7];
        let last = [
            3, 1, 1, 0x77, 1, 0, 0, 1, 0, 2, 1, number, 1, 0, 0, number, 3, 2,
        ];
        let input = [&[number][..], &begin, &way, &[3, 1, 1], &last].concat();
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, input).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
