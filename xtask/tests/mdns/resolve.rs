//! The role `resolve` resolves names and addresses like avahi-resolve.

use super::world::{Avahi, World};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

#[test]
fn resolve_finds_avahis_host() -> Result<()> {
    finds_avahi(&World::new()?)
}

pub fn finds_avahi(world: &World) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let _avahi = Avahi::start(world, "other", scratch.path())?;
    let v4 = world.resolve(&["-4", "-n", "other.local"])?;
    ensure!(v4.stdout == "other.local\t192.0.2.2\n", "{v4:?}");
    let v6 = world.resolve(&["-6", "-n", "OTHER.local."])?;
    ensure!(v6.stdout.starts_with("OTHER.local.\tfe80::"), "{v6:?}");
    let name = world.resolve(&["--address", "192.0.2.2"])?;
    ensure!(name.stdout == "192.0.2.2\tother.local\n", "{name:?}");
    let address = v6.stdout.trim().split('\t').nth(1).unwrap_or_default();
    let name = world.resolve(&["-a", address, "192.0.2.2"])?;
    ensure!(
        name.stdout.contains(&format!("{address}\tother.local\n")),
        "{name:?}"
    );
    ensure!(name.stdout.contains("192.0.2.2\tother.local\n"), "{name:?}");
    for found in [v4, v6, name] {
        ensure!(
            found.code == Some(0) && found.stderr.is_empty(),
            "{found:?}"
        );
    }
    Ok(())
}

/// A host without an IPv6 address denies AAAA by NSEC, so that `resolve -6` ends at once.
pub fn finds_us(world: &World) -> Result<()> {
    world.without_ipv6_on(&world.ours)?;
    let responder = world.announce(&["--name", "box"])?;
    responder.wait_for("announced box.local")?;
    let found = world.resolve_from_theirs(&["-n", "box.local"])?;
    ensure!(
        found.stdout == "box.local\t192.0.2.1\n" && found.code == Some(0),
        "{found:?}"
    );
    let start = Instant::now();
    let denied = world.resolve_from_theirs(&["-6", "-n", "box.local"])?;
    let elapsed = start.elapsed();
    ensure!(
        denied.code == Some(1) && denied.stdout.is_empty(),
        "{denied:?}"
    );
    ensure!(
        denied.stderr
            == "stowaway: cannot resolve box.local: the host denies that the record exists\n",
        "{denied:?}"
    );
    ensure!(elapsed < Duration::from_millis(1500), "{elapsed:?}");
    // For a host that does not exist `resolve` waits until its timeout; answers for other names are printed in the meantime.
    let start = Instant::now();
    let some = world.resolve_from_theirs(&["-4", "-n", "nobody.local", "box.local"])?;
    let elapsed = start.elapsed();
    ensure!(
        some.stdout == "box.local\t192.0.2.1\n" && some.code == Some(1),
        "{some:?}"
    );
    ensure!(
        some.stderr
            .contains("cannot resolve nobody.local: no answer; the host may be off"),
        "{some:?}"
    );
    ensure!((4..15).contains(&elapsed.as_secs()), "{elapsed:?}");
    responder.stop()
}

#[test]
fn resolve_prints_where_avahis_service_is() -> Result<()> {
    let (world, scratch) = (World::new()?, tempfile::tempdir()?);
    let avahi = Avahi::start(&world, "other", scratch.path())?;
    let _service = avahi.publish(&["My Files", "_sftp-ssh._tcp", "22", "path=/srv", "a b=1"])?;
    let _second = avahi.publish(&["Your Files", "_sftp-ssh._tcp", "23"])?;
    for (words, address) in [
        (&["-4", "-s", "My Files", "_sftp-ssh._tcp"], "192.0.2.2"),
        (
            &["-6", "--service", "my files", "_sftp-ssh._tcp."],
            "fe80::",
        ),
    ] {
        let found = world.resolve(words)?;
        let start = format!("{}\tother.local\t{address}", words[2]);
        ensure!(
            found.code == Some(0)
                && found.stderr.is_empty()
                && found.stdout.starts_with(&start)
                && found.stdout.lines().count() == 1,
            "{found:?}"
        );
        let mut fields = found.stdout.trim_end().split('\t').skip(3);
        ensure!(fields.next() == Some("22"), "{found:?}");
        let texts = fields.next().unwrap_or_default();
        ensure!(
            texts.contains("\"path=/srv\"") && texts.contains("\"a b=1\""),
            "{found:?}"
        );
    }
    let absent = world.resolve(&["-s", "Their Files", "_sftp-ssh._tcp"])?;
    ensure!(
        absent.code == Some(1)
            && absent.stdout.is_empty()
            && absent
                .stderr
                .contains("cannot resolve Their Files: no answer"),
        "{absent:?}"
    );
    Ok(())
}

#[test]
fn unresolvable_arguments_are_usage_errors() -> Result<()> {
    let world = World::new()?;
    for (words, part) in [
        (&["box.local"][..], "add -n"),
        (&["-n"], "missing host: such as"),
        (&["-n", "box"], "invalid host box: such as"),
        (&["-n", "box.example"], "invalid host box.example: such as"),
        (&["-n", "a..local"], "invalid host a..local: such as"),
        (&["-a", "box.local"], "invalid address box.local: such as"),
        (
            &["-a", "192.0.2.256"],
            "invalid address 192.0.2.256: such as",
        ),
        (&["-s", "box"], "missing service: its name and its type"),
        (
            &["-s", "box", "_a._tcp", "_b._tcp"],
            "missing service: its name and its type",
        ),
        (&["-s", "box", "sftp"], "invalid service sftp: its name"),
        (&["-x"], "unknown option"),
        (&["-n", ""], "missing host"),
    ] {
        let output = world.resolve(words)?;
        ensure!(
            output.code == Some(2) && output.stderr.contains(part),
            "{words:?}: {output:?}"
        );
    }
    Ok(())
}
