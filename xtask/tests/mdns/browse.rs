//! The browser role (`browse`): the same lines and exit codes as avahi-browse.

use super::WORDS;
use super::world::{Avahi, Output, World, wait_for_text};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

/// RFC 6762 section 5.2: "MUST listen for Multicast DNS replies sent to UDP destination port 5353": avahi replies to that port.
#[test]
fn browser_resolves_services_of_avahi() -> Result<()> {
    sees_avahi(&World::new()?)
}

pub fn sees_avahi(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let avahi = Avahi::start(world, "other", scratch.path())?;
    let watch = world.browse(&["-r", "-p", "-k", "_http._tcp"])?;
    let published = avahi.publish(&[
        "A \u{1b}[2J \"site\"",
        "_http._tcp",
        "8080",
        "path=/",
        "say=\u{1b}]",
    ])?;
    // Control characters are escaped, so that a TXT record cannot send escape sequences to the terminal.
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
    let all = world.browse(&["-a", "-t", "--json", "-r"])?.read_all()?;
    let found: Vec<serde_json::Value> = all
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let is_resolved = |line: &serde_json::Value| {
        line["event"] == "resolved"
            && line["name"] == "A \u{1b}[2J \"site\""
            && line["address"] == "192.0.2.2"
            && line["port"] == 8080
    };
    ensure!(found.iter().any(is_resolved), "{all}");
    // Makes up to five attempts, because with -t the browser waits for one second only and may miss a late answer.
    let mut types = String::new();
    for _ in 0..5 {
        types += &world.browse(&["--types", "-t", "-p", "-k"])?.read_all()?;
        if !types.is_empty() {
            break;
        }
    }
    ensure!(types.contains("+;eth0;IPv4;_http._tcp;local"), "{types}");
    drop(published);
    watch.wait_for(&format!("-;eth0;IPv4;{name};_http._tcp;local"))?;
    Ok(())
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

/// Output of a browser as a set of lines. The TXT strings of each line are sorted, because avahi prints them in reverse order.
fn set(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| {
        // In columns, avahi prints an underscore for each byte that is not ASCII.
        let line = line.replace('ö', "__");
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let start = line.find('"').unwrap_or(line.len());
        let (head, texts) = line.split_at(start);
        let mut texts: Vec<_> = texts.trim_end_matches(']').split("\" \"").collect();
        for text in &mut texts {
            *text = text.trim_matches('"');
        }
        texts.sort_unstable();
        format!("{head}{}", texts.join("|"))
    });
    // avahi announces on the loopback interface, too; these lines are dropped.
    lines
        .filter(|line| {
            !line.contains(" lo IPv") && !line.contains(";lo;") && !line.contains("127.0.0.1")
        })
        .collect()
}

/// On the same network, `browse` and avahi-browse print the same lines: types, services and resolved addresses, local services
/// included.
#[test]
fn browser_prints_the_lines_of_avahi_browse() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    // Without IPv6 each service resolves to one address only; with both families, the programs could print different ones.
    for host in [&world.ours, &world.theirs] {
        world.without_ipv6_on(host)?;
    }
    let avahi = Avahi::start(&world, "other", scratch.path())?;
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
    avahi.wait_for_output(
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
        // Makes up to five attempts, because with -t both programs wait for one second only and may miss a late answer.
        for _ in 0..5 {
            let theirs = Output::of(avahi.command("avahi-browse").args(words))?;
            let ours = Output::of(&mut world.browser(&world.theirs, words)?)?;
            ensure!(ours.code == Some(0) && ours.stderr.is_empty(), "{ours:?}");
            last = (set(&ours.stdout), set(&theirs.stdout));
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
    // -b prints the descriptive names of service types. They are those of avahi's database.
    for words in ["-b", "-bk"] {
        let ours = Output::of(&mut world.browser(&world.theirs, &[words])?)?;
        let theirs = Output::of(avahi.command("avahi-browse").arg(words))?;
        let (ours, theirs) = (set(&ours.stdout), set(&theirs.stdout));
        ensure!(ours.len() == 76 && ours == theirs, "{ours:?}");
    }
    responder.stop()
}

/// Resolves a service whose target host does not exist. `browse` and avahi-browse must print the same timeout message for each
/// family, and end with the same exit code.
#[test]
fn resolve_timeout_is_reported_like_avahi_browse() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    for host in [&world.ours, &world.theirs] {
        world.without_ipv6_on(host)?;
    }
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let _published = [
        avahi.publish(&["-H", "nowhere.local", "The ghost", "_http._tcp", "80"])?,
        avahi.publish(&["Web", "_http._tcp", "8080"])?,
    ];
    let words = ["-rtpk", "_http._tcp"];
    let by_avahi = ["avahi-browse", "-rtpk", "_http._tcp"];
    avahi.wait_for_output(&by_avahi, &["+;eth0;IPv4;The", "=;eth0;IPv4;Web"])?;
    let theirs = Output::of(avahi.command("avahi-browse").args(words))?;
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

/// `browse | head -n 1` ends like `avahi-browse | head -n 1`: killed by SIGPIPE, without a message.
#[test]
fn closed_pipe_ends_browser_by_sigpipe() -> Result<()> {
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
    // Any other write error is reported.
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

/// `--keep` stores resolved services in a file, so that the browser can show where the services of a dead host were.
#[test]
fn services_of_a_dead_host_are_remembered() -> Result<()> {
    remembers_dead_host(&World::new()?)
}

pub fn remembers_dead_host(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("file");
    let keep = file.to_str().context("the path is not UTF-8")?.to_owned();
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let watch = world.browse_from_theirs(&["-p", "--keep", &keep, "_sftp-ssh._tcp"])?;
    watch.wait_for("=;eth0;IPv4;My")?;
    let line = wait_for_text(&file, |text| text.contains(";IPv4;"))?;
    ensure!(
        line.starts_with(
            r"=;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;"
        ),
        "{line}"
    );
    ensure!(line.ends_with(";\"path=/srv\"\n"), "{line}");
    responder.kill()?;
    if std::env::var_os("STOWAWAY_FULL").is_some() {
        // The TTL of address records is 120 s.
        watch.wait_for_within(
            r"?;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;",
            Duration::from_secs(140),
        )?;
    }
    watch.stop()?;
    let browse_once = |words: &[&str]| {
        let words = [words, &["-t", "--keep", &keep]].concat();
        let output = world.browse_there_once(&words)?;
        ensure!(
            output.code == Some(0) && output.stderr.is_empty(),
            "{output:?}"
        );
        Ok(output.stdout)
    };
    let fields = browse_once(&["-p", "_sftp-ssh._tcp"])?;
    ensure!(
        fields.starts_with(
            r"?;eth0;IPv4;My\032Files\044\032all;_sftp-ssh._tcp;local;box.local;192.0.2.1;22;"
        ),
        "{fields}"
    );
    let plain = browse_once(&["-a"])?;
    ensure!(
        plain.starts_with("lost My Files, all _sftp-ssh._tcp eth0, last seen 2")
            && plain.contains(" UTC on box.local at 192.0.2.1 \"path=/srv\""),
        "{plain}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&browse_once(&["--json", "_sftp-ssh._tcp"])?)?;
    ensure!(
        json["event"] == "lost"
            && json["host"] == "box.local"
            && json["path"] == "/srv"
            && json["port"] == 22,
        "{json}"
    );
    // The type filter applies to lost services, too.
    ensure!(browse_once(&["-p", "_http._tcp"])?.is_empty());
    // A service that is announced again is no longer shown as lost; one that sends a goodbye is removed from the file.
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    ensure!(!browse_once(&["-p", "_sftp-ssh._tcp"])?.contains('?'));
    let watch = world.browse_from_theirs(&["-p", "--keep", &keep, "_sftp-ssh._tcp"])?;
    watch.wait_for("=;eth0;IPv4;My")?;
    responder.stop()?;
    watch.wait_for("-;eth0;IPv4;My")?;
    watch.stop()?;
    ensure!(fs::read_to_string(&file)?.is_empty());
    ensure!(browse_once(&["-p", "_sftp-ssh._tcp"])?.is_empty());
    Ok(())
}

#[test]
fn full_disk_is_reported_once_by_keep() -> Result<()> {
    let world = World::new()?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk");
    fs::create_dir(&disk)?;
    let (path, browser) = (
        disk.to_string_lossy().into_owned(),
        world.browser(&world.ours, &[])?,
    );
    let output = Output::of(&mut world.browser(&world.ours, &["-t", "--keep", &path, "-a"])?)?;
    ensure!(
        output.code == Some(1) && output.stderr.contains("cannot use the --keep file"),
        "{output:?}"
    );
    // The --keep file is on a tmpfs of one page, which is full.
    let script = "mount -t tmpfs -o size=4k none \"$0\" && cp /dev/zero \"$0/full\" 2>/dev/null; shift 0; exec \"$@\"";
    let responder = world.announce(&WORDS)?;
    responder.wait_for("announced box.local")?;
    let mut full = world.ours.command("unshare");
    full.args(["--mount", "sh", "-c", script]).arg(&disk).arg(
        browser
            .get_args()
            .nth(3)
            .context("the browser's command has no path")?,
    );
    full.args([
        "browse",
        "-a",
        "-p",
        "-t",
        "--keep",
        &format!("{path}/file"),
    ]);
    let output = Output::of(&mut full)?;
    ensure!(
        output.code == Some(0) && output.stdout.contains("=;eth0;IPv4;My"),
        "{output:?}"
    );
    ensure!(
        output.stderr.matches("the disk is full").count() == 1,
        "{output:?}"
    );
    responder.stop()
}
