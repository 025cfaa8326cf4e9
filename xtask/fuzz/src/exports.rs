//! The target `exports`: files of exports.

use std::path::Path;

use stowaway::wire::exports::{Flaw, Hosts, Ignored, Rules, hosts, parse, set_option};

/// Runs one input: a file.
pub fn read(input: &[u8]) {
    let mut text = input.to_vec();
    let line_lens: Vec<usize> = input
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::len)
        .collect();
    let (mut ignored, mut count) = (Ignored::default(), 0);
    let parsed = parse(&mut text, &mut ignored, &mut |entry| {
        assert_eq!(entry.path.first(), Some(&b'/'));
        assert!(entry.path.len() < input.len() + 1);
        check_hosts(&entry.hosts);
        check_rules(&entry.rules);
        count += 1;
        match count {
            // As the server does when its tables are full.
            1000 => Err(Flaw::Many),
            _ => Ok(()),
        }
    });
    assert!(count <= input.len());
    if let Err(fault) = parsed {
        let (line, column) = (fault.line as usize, fault.column as usize);
        let line_len = line.checked_sub(1).and_then(|index| line_lens.get(index));
        let line_len = line_len.expect("the line is one of the file");
        assert!((1..=line_len + 1).contains(&column));
    }
    assert!(ignored.names().all(|name| !name.is_empty()));
}

/// Fails unless the hosts are those of a word: an address of a network is in it, and no name has a byte that ends a word.
fn check_hosts(found: &Hosts<'_>) {
    assert!(found.rank() <= 3);
    match *found {
        Hosts::Everyone => {}
        Hosts::Named(name) => assert_eq!(hosts(name), Ok(*found)),
        Hosts::Network { address, bits } => {
            assert!(bits <= 128 && found.contains(address));
        }
    }
}

/// Fails unless the words of the rules set the same rules.
fn check_rules(rules: &Rules) {
    let mut again = Rules {
        fsid: rules.fsid,
        anonymous: rules.anonymous,
        ..Rules::DEFAULT
    };
    for word in rules.words() {
        assert_eq!(
            set_option(&mut again, word, &mut Ignored::default()),
            Ok(())
        );
    }
    assert_eq!(again, *rules);
}

/// Writes valid files to the directory in [`super::SEEDS`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    let seeds: [&[u8]; 4] = [
        b"/srv 192.0.2.0/24(rw,async,no_root_squash) 2001:db8::1 *.example.org(ro,secure)\n",
        b"# comment\n\"/with blank\" -rw,all_squash,anonuid=1000,anongid=100 a b(fsid=7,isos) \\\n  *\n",
        b"/a\\040b 192.0.2.0/255.255.255.0(mountpoint,wdelay,crossmnt,subtree_check,sec=sys)\n/c\n",
        b"/d (ro)\n/e host[0-9]?(insecure)\r\n",
    ];
    for (number, seed) in seeds.iter().enumerate() {
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, seed).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
