//! EXCLUSIVE CREATE, in a server that remembers verifiers and in one that does not.

use super::Bench;
use super::calls::Call;
use super::changing::check;
use crate::wire::nfs3::Procedure;

const OK: u32 = 0;
const EXISTS: u32 = 17;

fn create(dir: &[u8], name: &[u8], verifier: &[u32; 2]) -> Call {
    const EXCLUSIVE: u32 = 2;
    Call::of(Procedure::Create, dir)
        .opaque(name)
        .word(EXCLUSIVE)
        .words(verifier)
}

#[test]
fn repeated_exclusive_create_returns_the_same_file() {
    // A verifier may have any bits. It is stored in atime and mtime; some hosts reject times with all bits set.
    for verifier in [[0, 0], [7, 8], [u32::MAX; 2], [1 << 31, 1]] {
        let mut bench = Bench::writable();
        let [top, hello] = ["", "hello"].map(|path| bench.handle(path));
        let call = create(&top, b"new", &verifier);
        let made = check(&mut bench, &call, &[&top], OK);
        // Every host can store times below 2^31.
        let times = made.attributes[0].unwrap();
        assert!(times[15] < 1 << 31 && times[17] < 1 << 31);
        let was = bench.tree.ram().clone();
        let again = bench.ask_around(&call, &[&top]);
        assert_eq!((again.status, &again.handle), (OK, &made.handle));
        assert!(bench.tree.ram().is_like(&was));
        let other = [verifier[0], verifier[1] ^ 1];
        let other = create(&top, b"new", &other);
        check(&mut bench, &other, &[&top], EXISTS);
        let there = create(&top, b"hello", &verifier);
        check(&mut bench, &there, &[&top], EXISTS);
        // A restarted server has no list of verifiers. It recognises an empty file by atime and mtime, where CREATE stored the
        // verifier.
        let mut restarted = Bench {
            tree: bench.tree,
            ..Bench::default()
        };
        assert_eq!(restarted.ask(&call).unwrap().handle, made.handle);
        // Once the file has data, the server ignores the verifier in atime and mtime, even if SETATTR sets both to it again:
        // another client may have written the file.
        restarted
            .ask(&Call::write(&made.handle, 0, 2, b"x"))
            .unwrap();
        check(&mut restarted, &call, &[&top], EXISTS);
        let [atime, mtime] = verifier.map(|word| word & 0x7fff_ffff);
        let times = Call::of(Procedure::SetAttr, &made.handle)
            .words(&[0, 0, 0, 0, 2, atime, 0, 2, mtime, 0, 0]);
        assert_eq!(restarted.ask(&times).unwrap().status, OK);
        check(&mut restarted, &call, &[&top], EXISTS);
        assert_ne!(made.handle, hello);
    }
}

#[test]
fn exclusive_create_is_recognised_after_a_write() {
    let mut bench = Bench::writable();
    let top = bench.handle("");
    let call = |number: u32| {
        let name = number.to_be_bytes().map(|byte| byte | 0x80);
        create(&top, &name, &[number, 9])
    };
    let made: Vec<Vec<u8>> = (0..32)
        .map(|number| bench.ask(&call(number)).unwrap().handle)
        .collect();
    for handle in &made {
        bench.ask(&Call::write(handle, 0, 0, b"data")).unwrap();
    }
    for (number, handle) in (0..).zip(&made) {
        let again = bench.ask(&call(number)).unwrap();
        assert_eq!((again.status, &again.handle), (OK, handle));
    }
}
