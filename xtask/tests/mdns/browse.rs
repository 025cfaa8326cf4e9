//! Our browser, beside avahi's.

use super::WORDS;
use super::world::{Avahi, Running, Said, World};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::setup::PythonPackage;

#[test]
fn our_browser_sees_what_avahi_announces() -> Result<()> {
    sees_avahi(&World::new()?)
}

pub fn sees_avahi(world: &World) -> Result<()> {
    let room = tempfile::tempdir()?;
    let avahi = Avahi::start(world, "other", room.path())?;
    let watch = world.browse(&["-r", "-p", "-k", "_http._tcp"])?;
    let published = avahi.publish(&[
        "A \u{1b}[2J \"site\"",
        "_http._tcp",
        "8080",
        "path=/",
        "say=\u{1b}]",
    ])?;
    // No byte reaches the terminal that it would obey.
    let name = r"A\032\027\0912J\032\034site\034";
    let line = watch.wait_for(&format!(
        "=;eth0;IPv4;{name};_http._tcp;local;other.local;192.0.2.2;8080;"
    ))?;
    ensure!(
        line.contains(r#""path=/""#) && line.contains(r#""say=\027]""#),
        "{line}"
    );
    watch.wait_for(&format!(
        "=;eth0;IPv6;{name};_http._tcp;local;other.local;fe80::"
    ))?;
    let all = world.browse(&["-a", "-t", "--json", "-r"])?.all()?;
    let found: Vec<serde_json::Value> = all
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let is_it = |line: &serde_json::Value| {
        line["event"] == "resolved"
            && line["name"] == "A \u{1b}[2J \"site\""
            && line["address"] == "192.0.2.2"
            && line["port"] == 8080
    };
    ensure!(found.iter().any(is_it), "{all}");
    // An answer that comes late is missed once in a while: it waits for a second only.
    let mut types = String::new();
    for _ in 0..5 {
        types += &world.browse(&["--types", "-t", "-p", "-k"])?.all()?;
        if !types.is_empty() {
            break;
        }
    }
    ensure!(types.contains("+;eth0;IPv4;_http._tcp;local"), "{types}");
    drop(published);
    watch.wait_for(&format!("-;eth0;IPv4;{name};_http._tcp;local"))?;
    Ok(())
}

#[test]
fn our_browser_sees_us_and_what_changes() -> Result<()> {
    sees_us(&World::new()?)
}

pub fn sees_us(world: &World) -> Result<()> {
    let watch = world.browse(&["-a", "-r", "-p", "-k"])?;
    let responder = world.announce(&WORDS)?;
    watch.wait_for(r#"=;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;"u=me" "path=/srv""#)?;
    responder.stop()?;
    watch.wait_for(r"-;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local")?;
    let responder = world.announce(&[
        "--name",
        "box",
        "--service",
        r"My Files\, all,_sftp-ssh._tcp,2222",
    ])?;
    watch.wait_for("_sftp-ssh._tcp;local;box.local;192.0.2.1;2222;")?;
    responder.stop()
}

/// Lines of a browser as a set, with the strings of texts in order: avahi turns them round.
fn set(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| {
        // In columns avahi has underscores instead of what is not ASCII.
        let line = line.replace('ö', "__");
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let begin = line.find('"').unwrap_or(line.len());
        let (head, texts) = line.split_at(begin);
        let mut texts: Vec<_> = texts.trim_end_matches(']').split("\" \"").collect();
        for text in &mut texts {
            *text = text.trim_matches('"');
        }
        texts.sort_unstable();
        format!("{head}{}", texts.join("|"))
    });
    // avahi takes part on the loopback interface, too.
    lines
        .filter(|line| {
            !line.contains(" lo IPv") && !line.contains(";lo;") && !line.contains("127.0.0.1")
        })
        .collect()
}

/// For the same network both print the same: types, services, and where they are, local ones included.
#[test]
fn our_lines_are_those_of_avahi_browse() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    // With one family there is no choice which address is printed.
    for host in [&world.ours, &world.theirs] {
        world.without_ipv6_on(host)?;
    }
    let avahi = Avahi::start(&world, "other", room.path())?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let _published = [
        avahi.publish(&[
            "Web; \"site\" ö.\\",
            "_http._tcp",
            "8080",
            "path=/a;b",
            "q=\"\\",
            "flag",
        ])?,
        avahi.publish(&["None", "_ipp._tcp", "631"])?,
        avahi.publish(&[
            "--subtype",
            "_printer._sub._http._tcp",
            "Sub",
            "_http._tcp",
            "81",
        ])?,
    ];
    avahi.see(
        &["avahi-browse", "-artpk"],
        &[";None;", ";Sub;", "=;eth0;IPv4;My", ";Web"],
    )?;
    for words in [
        &["-a", "-r", "-t", "-p", "-k"][..],
        &["-artpkl"],
        &["-atpk"],
        &[
            "--all",
            "--terminate",
            "--parsable",
            "--no-db-lookup",
            "--ignore-local",
        ],
        &["-rtpk", "_http._tcp"],
        &["-tpk", "_printer._sub._http._tcp"],
        &["-artk"],
        &["-atk"],
        &["-rtpk", "-d", "local", "_sftp-ssh._tcp"],
        &["-artp"],
        &["-art"],
    ] {
        let mut is_same = false;
        let mut last = (BTreeSet::new(), BTreeSet::new());
        // Either may miss what the other sees once in a while: both wait for a second only.
        for _ in 0..5 {
            let theirs = Said::by(avahi.command("avahi-browse").args(words))?;
            let ours = Said::by(&mut world.browser(&world.theirs, words)?)?;
            ensure!(ours.code == Some(0) && ours.stderr.is_empty(), "{ours:?}");
            last = (set(&ours.stdout), set(&theirs.stdout));
            // Names that avahi prints with underscores in columns are letters here.
            is_same = last.0 == last.1 && !last.0.is_empty();
            if is_same {
                break;
            }
        }
        ensure!(
            is_same,
            "{words:?}\nours: {:#?}\ntheirs: {:#?}",
            last.0,
            last.1
        );
    }
    // What types are called is avahi's, of those that it has a name for here.
    for words in ["-b", "-bk"] {
        let ours = Said::by(&mut world.browser(&world.theirs, &[words])?)?;
        let theirs = Said::by(avahi.command("avahi-browse").arg(words))?;
        let (ours, theirs) = (set(&ours.stdout), set(&theirs.stdout));
        ensure!(ours.len() > 10 && ours.is_subset(&theirs), "{ours:?}");
    }
    responder.stop()
}

/// A service whose host nobody has: both say that of each family, in the same words, and end.
#[test]
fn what_cannot_be_resolved_is_said_as_avahi_browse_says_it() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    for host in [&world.ours, &world.theirs] {
        world.without_ipv6_on(host)?;
    }
    let avahi = Avahi::start(&world, "other", room.path())?;
    let _published = [
        avahi.publish(&["-H", "nowhere.local", "The ghost", "_http._tcp", "80"])?,
        avahi.publish(&["Web", "_http._tcp", "8080"])?,
    ];
    let words = ["-rtpk", "_http._tcp"];
    let by_avahi = ["avahi-browse", "-rtpk", "_http._tcp"];
    avahi.see(&by_avahi, &["+;eth0;IPv4;The", "=;eth0;IPv4;Web"])?;
    let theirs = Said::by(avahi.command("avahi-browse").args(words))?;
    let ours = world.browse_there_once(&words)?;
    ensure!(
        set(&ours.stdout) == set(&theirs.stdout) && ours.code == theirs.code,
        "{ours:?}\n{theirs:?}"
    );
    let line = "Failed to resolve service 'The ghost' of type '_http._tcp' in domain 'local': Timeout reached\n";
    ensure!(ours.stderr == line, "{ours:?}");
    ensure!(
        theirs.stderr.replace(line, "").is_empty() && !theirs.stderr.is_empty(),
        "{theirs:?}"
    );
    Ok(())
}

/// python-zeroconf has them on one host, and needs seconds for all that is asked of it.
#[test]
fn a_thousand_services_of_one_host_are_all_resolved() -> Result<()> {
    let world = World::new()?;
    let mut python = world.ours.command(PythonPackage::PYTHON);
    python
        .env("PYTHONPATH", PythonPackage::ZEROCONF.path()?)
        .args(["-c", include_str!("crowd.py"), "_http._tcp", "1000"]);
    let crowd = Running::printing(python)?;
    crowd.wait_for("ready")?;
    let words = ["-rtpk", "_http._tcp"];
    let said = world.browse_there_once(&words)?;
    let count = |sign: &str| {
        let of = |line: &&str| line.starts_with(sign) && line.contains("IPv4;Service");
        said.stdout.lines().filter(of).count()
    };
    ensure!(
        (count("+"), count("=")) == (1000, 1000) && said.code == Some(0) && said.stderr.is_empty(),
        "{} of {}: {}",
        count("="),
        count("+"),
        said.stderr
    );
    ensure!(
        said.stdout.contains(
            r#"=;eth0;IPv4;Service\0320999;_http._tcp;local;crowd.local;192.0.2.1;2023;"number=999""#
        ),
        "{}",
        said.stdout
    );
    crowd.kill()
}

/// `browse | head -n 1` ends as `avahi-browse | head -n 1` does: by SIGPIPE, and without a word.
#[test]
fn who_reads_no_further_ends_it_quietly() -> Result<()> {
    let world = World::new()?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let mut browser = world.browser(&world.ours, &["-a", "-t", "-r"])?;
    let mut child = browser
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    ensure!(
        output.status.signal() == Some(Signal::SIGPIPE as i32) && output.stderr.is_empty(),
        "{output:?}"
    );
    // What cannot be written for another reason is said.
    let full = fs::File::options().write(true).open("/dev/full")?;
    let output = world
        .browser(&world.ours, &["-a", "-t"])?
        .stdin(Stdio::null())
        .stdout(full)
        .output()?;
    ensure!(
        output.status.code() == Some(1)
            && output.stderr == b"stowaway: standard output cannot be written\n",
        "{output:?}"
    );
    responder.stop()
}

/// A program that may be run.
fn script(place: &Path, text: &str) -> Result<String> {
    fs::write(place, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    Ok(place.to_string_lossy().into_owned())
}

/// Waits until a file is as it should be.
fn wait_for(place: &Path, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let text = fs::read_to_string(place).unwrap_or_default();
        if is_right(&text) {
            return Ok(text);
        }
        ensure!(Instant::now() < end, "{}: {text}", place.display());
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_program_is_run_for_each_event_one_at_a_time() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let log = room.path().join("log");
    let program = script(
        &room.path().join("program"),
        &format!(
            "exec 3>>{}\necho \"begin $DNSSD_EVENT $DNSSD_FAMILY $DNSSD_NAME|$DNSSD_TYPE|$DNSSD_HOST|$DNSSD_ADDRESS|$DNSSD_PORT|\
             $DNSSD_TXT_path|$DNSSD_TXT_u|$KEPT$#\" >&3\necho \"open $(ls -l /proc/$$/fd | grep -c 'socket:\\|anon_inode:')\" >&3\nsleep 0.3\necho end >&3",
            log.display()
        ),
    )?;
    let mut browser = world.browser(&world.ours, &["-p", "--exec", &program, "_sftp-ssh._tcp"])?;
    browser.env("KEPT", "kept").env("DNSSD_TXT_path", "stale");
    let watch = Running::printing(browser)?;
    let responder = world.announce(&WORDS)?;
    let text = wait_for(&log, |text| text.matches("end").count() == 2)?;
    ensure!(
        text.contains(
            "begin add IPv4 My Files, all|_sftp-ssh._tcp|box.local|192.0.2.1|22|/srv|me|kept0"
        ),
        "{text}"
    );
    ensure!(
        text.contains("begin add IPv6 My Files, all|_sftp-ssh._tcp|box.local|fe80::"),
        "{text}"
    );
    responder.stop()?;
    let text = wait_for(&log, |text| text.matches("end").count() == 4)?;
    ensure!(
        text.contains("begin remove IPv4 My Files, all|_sftp-ssh._tcp||||||kept0"),
        "{text}"
    );
    // One ends before another begins, and nothing that is open here is open there.
    let lines: Vec<_> = text.lines().collect();
    for run in lines.chunks(3) {
        let [begin, open, end] = run else {
            anyhow::bail!("{text}");
        };
        ensure!(begin.starts_with("begin") && *end == "end", "{text}");
        ensure!(*open == "open 0", "{text}");
    }
    // Nothing is left of them.
    sleep(Duration::from_millis(500));
    let pid = watch.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    ensure!(children.trim().is_empty(), "{children}");
    watch.stop()
}

#[test]
fn a_program_that_fails_or_is_not_there_is_told() -> Result<()> {
    let (world, room) = (World::new()?, tempfile::tempdir()?);
    let file = room.path().join("file");
    fs::write(&file, "text")?;
    let file = file.to_string_lossy();
    for program in ["/nowhere/program", &file, "/"] {
        let said =
            Said::by(&mut world.browser(&world.ours, &["-t", "--exec", program, "_http._tcp"])?)?;
        ensure!(
            said.code == Some(1) && said.stderr.contains("there is no such program"),
            "{said:?}"
        );
    }
    fs::set_permissions(&*file, fs::Permissions::from_mode(0o755))?;
    let bad = script(&room.path().join("bad"), "exit 3")?;
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    for (program, part) in [
        (&*file, "cannot be run: the program"),
        (&bad, "has failed: the program"),
    ] {
        let said = Said::by(
            &mut world.browser(&world.ours, &["-t", "--exec", program, "_sftp-ssh._tcp"])?,
        )?;
        ensure!(
            said.code == Some(0) && said.stderr.contains(&format!("{part} {program}")),
            "{said:?}"
        );
    }
    responder.stop()
}

/// A dead host cannot say where its services were.
#[test]
fn what_was_on_a_host_that_died_is_known() -> Result<()> {
    who_died_is_known(&World::new()?)
}

pub fn who_died_is_known(world: &World) -> Result<()> {
    let room = tempfile::tempdir()?;
    let file = room.path().join("file");
    let keep = file.to_str().context("it is UTF-8")?.to_owned();
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let watch = world.browse_from_theirs(&["-p", "--keep", &keep, "_sftp-ssh._tcp"])?;
    watch.wait_for("=;eth0;IPv4;My")?;
    let line = wait_for(&file, |text| text.contains(";IPv4;"))?;
    ensure!(
        line.starts_with(
            r"=;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;"
        ),
        "{line}"
    );
    ensure!(line.ends_with(";\"path=/srv\"\n"), "{line}");
    responder.kill()?;
    if std::env::var_os("STOWAWAY_FULL").is_some() {
        // Its records last for 120 s.
        watch.wait_for_within(
            r"?;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;",
            Duration::from_secs(140),
        )?;
    }
    watch.stop()?;
    let again = |words: &[&str]| {
        let words = [words, &["-t", "--keep", &keep]].concat();
        let said = world.browse_there_once(&words)?;
        ensure!(said.code == Some(0) && said.stderr.is_empty(), "{said:?}");
        Ok(said.stdout)
    };
    let fields = again(&["-p", "_sftp-ssh._tcp"])?;
    ensure!(
        fields.starts_with(
            r"?;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;"
        ),
        "{fields}"
    );
    let plain = again(&["-a"])?;
    ensure!(
        plain.starts_with("lost My Files, all _sftp-ssh._tcp eth0, last seen 2")
            && plain.contains(" UTC on box.local at 192.0.2.1 \"path=/srv\""),
        "{plain}"
    );
    let json: serde_json::Value = serde_json::from_str(&again(&["--json", "_sftp-ssh._tcp"])?)?;
    ensure!(
        json["event"] == "lost"
            && json["host"] == "box.local"
            && json["path"] == "/srv"
            && json["port"] == 22,
        "{json}"
    );
    // Of another type nothing is lost.
    ensure!(again(&["-p", "_http._tcp"])?.is_empty());
    // Who is back is there, and who says farewell is forgotten.
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    ensure!(!again(&["-p", "_sftp-ssh._tcp"])?.contains('?'));
    let watch = world.browse_from_theirs(&["-p", "--keep", &keep, "_sftp-ssh._tcp"])?;
    watch.wait_for("=;eth0;IPv4;My")?;
    responder.stop()?;
    watch.wait_for("-;eth0;IPv4;My")?;
    watch.stop()?;
    ensure!(fs::read_to_string(&file)?.is_empty());
    ensure!(again(&["-p", "_sftp-ssh._tcp"])?.is_empty());
    Ok(())
}

#[test]
fn what_cannot_be_kept_is_told_once() -> Result<()> {
    let world = World::new()?;
    let room = tempfile::tempdir()?;
    let disk = room.path().join("disk");
    fs::create_dir(&disk)?;
    let (place, browser) = (
        disk.to_string_lossy().into_owned(),
        world.browser(&world.ours, &[])?,
    );
    let said = Said::by(&mut world.browser(&world.ours, &["-t", "--keep", &place, "-a"])?)?;
    ensure!(
        said.code == Some(1) && said.stderr.contains("cannot remember in"),
        "{said:?}"
    );
    // A disk with room for one page, which is taken.
    let script = "mount -t tmpfs -o size=4k none \"$0\" && cp /dev/zero \"$0/full\" 2>/dev/null; shift 0; exec \"$@\"";
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let mut full = world.ours.command("unshare");
    full.args(["--mount", "sh", "-c", script])
        .arg(&disk)
        .arg(browser.get_args().nth(3).context("its path")?);
    full.args([
        "browse",
        "-a",
        "-p",
        "-t",
        "--keep",
        &format!("{place}/file"),
    ]);
    let said = Said::by(&mut full)?;
    ensure!(
        said.code == Some(0) && said.stdout.contains("=;eth0;IPv4;My"),
        "{said:?}"
    );
    ensure!(
        said.stderr.matches("the disk is full").count() == 1,
        "{said:?}"
    );
    responder.stop()
}
