//! Dates of listings in local time, compared with OpenSSH's server: from TZ, /etc/localtime, or the jail's etc/localtime.

use super::REFERENCE;
use anyhow::{Result, ensure};
use cases::random::Random;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};
use xtask::clients::sftp::{Program, Sftp, SftpOptions};
use xtask::machines::server::{public_dir, root_for};
use xtask::setup;

const ZONES: &str = "/usr/share/zoneinfo";
/// Zones of both hemispheres: offsets of half and quarter hours, negative daylight saving time, changes by half an hour or a whole
/// day, and changes on other days than Sunday and at odd times.
const NAMES: [&str; 20] = [
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Istanbul",
    "Africa/Casablanca",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Nuuk",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Jerusalem",
    "Asia/Gaza",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Antarctica/Troll",
];
const RULES: [&str; 13] = [
    "UTC0",
    "XYZ5",
    "<+0545>-5:45",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0/2,M11.1.0",
    "IST-1GMT0,M10.5.0,M3.5.0/1",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    "AAA-3:30BBB-4:45,J60/0,J300/24",
    "AAA8BBB7:15:10,59,300/1:30",
    "Europe/Nowhere",
    ":",
    "",
];

/// 4000 files with random times: three in four between 1970 and 2099, one in four in the last months (listed with the time of day).
fn files(directory: &Path) -> Result<()> {
    const YEARS_SECS: usize = 130 * 31_556_952;
    const RECENT_SECS: usize = 182 * 24 * 60 * 60;
    let mut random = Random::new(1);
    let now = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..4000 {
        let time = if number % 4 == 0 {
            now - Duration::from_secs(random.below(RECENT_SECS) as u64)
        } else {
            SystemTime::UNIX_EPOCH + Duration::from_secs(random.below(YEARS_SECS) as u64)
        };
        let file = File::create_new(directory.join(format!("{number:04}")))?;
        file.set_times(FileTimes::new().set_modified(time))?;
    }
    Ok(())
}

/// Lines of a listing of `directory`, with TZ set to `tz`.
fn listed(options: SftpOptions, directory: &str, tz: Option<&str>) -> Result<Vec<String>> {
    let environment = tz.map(|tz| ("TZ".to_owned(), tz.to_owned()));
    let path = ("PATH".to_owned(), "/usr/bin:/bin:/sbin".to_owned());
    let options = SftpOptions {
        environment: Some(environment.into_iter().chain([path]).collect()),
        ..options
    };
    let mut client = Sftp::start(&options)?;
    let entries = client.list(directory)?.into_iter();
    // The lines of "." and ".." are left out.
    let files = entries.filter(|entry| !entry.name.starts_with(b"."));
    let mut lines: Vec<_> = files
        .map(|entry| String::from_utf8_lossy(&entry.long_name).into_owned())
        .collect();
    // Sorts the lines by the file's name, which is the last word.
    lines.sort_by_cached_key(|line| line.rsplit(' ').next().unwrap_or_default().to_owned());
    client.finish_quietly()?;
    ensure!(lines.len() == 4000, "{} files are listed", lines.len());
    Ok(lines)
}

fn reference_lines(directory: &Path, tz: &str) -> Result<Vec<String>> {
    let program = Program::Other(REFERENCE.into());
    let options = SftpOptions {
        program,
        ..SftpOptions::default()
    };
    listed(options, &directory.display().to_string(), Some(tz))
}

fn ensure_same(what: &str, ours: &[String], theirs: &[String]) -> Result<()> {
    let different: Vec<_> = ours.iter().zip(theirs).filter(|(a, b)| a != b).collect();
    let few = &different[..different.len().min(5)];
    ensure!(
        different.is_empty(),
        "{what}: {} lines differ: {few:#?}",
        different.len()
    );
    Ok(())
}

#[test]
fn dates_follow_tz_like_openssh() -> Result<()> {
    setup::install_packages(&["openssh-sftp-server", "tzdata"])?;
    let directory = public_dir()?;
    files(directory.path())?;
    let utc = reference_lines(directory.path(), "UTC0")?;
    let colon = format!(":{ZONES}/Asia/Kolkata");
    let all = NAMES.iter().chain(&RULES).chain([&":Asia/Tokyo"]);
    for tz in all.copied().chain([colon.as_str()]) {
        let theirs = reference_lines(directory.path(), tz)?;
        let ours = listed(
            SftpOptions::default(),
            &directory.path().display().to_string(),
            Some(tz),
        )?;
        ensure_same(tz, &ours, &theirs)?;
        ensure!(
            !tz.contains("/B") || theirs != utc,
            "{tz} is shown as UTC: zone files are missing"
        );
    }
    Ok(())
}

#[test]
fn without_tz_dates_follow_etc_localtime() -> Result<()> {
    if !root_for("a mount") {
        return Ok(());
    }
    setup::install_packages(&["openssh-sftp-server", "tzdata", "mount"])?;
    let directory = public_dir()?;
    files(directory.path())?;
    let path = directory.path().display().to_string();
    for name in ["Europe/Dublin", "Australia/Lord_Howe"] {
        let through = ["unshare", "-m", "sh", "-c"].map(String::from);
        let script = format!("mount --bind {ZONES}/{name} /etc/localtime && exec \"$@\"");
        let options = SftpOptions {
            wrapper: [&through[..], &[script, "sh".into()]].concat(),
            ..SftpOptions::default()
        };
        let ours = listed(options, &path, None)?;
        ensure_same(name, &ours, &reference_lines(directory.path(), name)?)?;
    }
    Ok(())
}

#[test]
fn jailed_dates_follow_the_jails_localtime() -> Result<()> {
    setup::install_packages(&["openssh-sftp-server", "tzdata"])?;
    let jail = public_dir()?;
    let inside = jail.path().join("files");
    fs::create_dir(&inside)?;
    files(&inside)?;
    let ours = || listed(SftpOptions::jailed(jail.path()), "/files", None);
    let utc = reference_lines(&inside, "UTC0")?;
    // Only the dates are compared: the jail has no names of owners.
    let dates = |lines: &[String]| -> Vec<String> {
        let date = |line: &String| line[line.len() - 17..].to_owned();
        lines.iter().map(date).collect()
    };
    ensure_same("no file", &dates(&ours()?), &dates(&utc))?;
    fs::create_dir(jail.path().join("etc"))?;
    let local = jail.path().join("etc/localtime");
    for name in ["Europe/Dublin", "America/Santiago"] {
        let zone = fs::read(Path::new(ZONES).join(name))?;
        fs::write(&local, &zone)?;
        let theirs = reference_lines(&inside, name)?;
        ensure_same(name, &dates(&ours()?), &dates(&theirs))?;
        // A damaged zone file counts as UTC.
        fs::write(&local, &zone[..zone.len() / 3])?;
        ensure_same("a broken file", &dates(&ours()?), &dates(&utc))?;
    }
    Ok(())
}
