//! Commands of OpenSSH's sftp in batch mode, and their effects on the files.

use super::{Direct, create_file, ensure_same};
use anyhow::{Result, ensure};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::symlink_metadata(path)?.mode() & 0o7777)
}

#[test]
fn files_of_every_size_are_transferred() -> Result<()> {
    const SIZES: [usize; 9] = [
        0, 1, 1000, 32_767, 32_769, 261_120, 261_121, 300_001, 3_000_017,
    ];
    // Block sizes: the server's largest READ and WRITE, the default of clients that do not use limits@openssh.com, and an odd
    // size with at most 7 requests in flight.
    for options in [
        &["-B", "261120"][..],
        &["-B", "32768"],
        &["-B", "1009", "-R", "7"],
    ] {
        Direct::for_each_user(|direct| {
            let (mut up, mut down) = (String::new(), String::new());
            for size in SIZES {
                create_file(
                    &direct.client_dir().join(format!("{size}")),
                    size as u64,
                    size,
                )?;
                up.push_str(&format!("put {size}\n"));
                down.push_str(&format!("get {size} {size}.back\n"));
            }
            direct.batch_by(&direct.command(), options, &(up + &down))?;
            for size in SIZES {
                let client_dir = direct.client_dir().join(size.to_string());
                ensure_same(&client_dir, &direct.server_dir().join(size.to_string()))?;
                ensure_same(
                    &client_dir,
                    &direct.client_dir().join(format!("{size}.back")),
                )?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn preserve_option_keeps_times_and_modes() -> Result<()> {
    Direct::for_each_user(|direct| {
        let (client_dir, server_dir) = (direct.client_dir(), direct.server_dir());
        // -p keeps times and modes, whatever the umask. Times of SFTP version 3 are unsigned 32-bit seconds.
        let times = [0x7fff_ffff_u64, 86_400, 4_000_000_000];
        for (number, time) in times.into_iter().enumerate() {
            let path = client_dir.join(number.to_string());
            create_file(&path, 7, 40_000)?;
            let file = fs::File::options().write(true).open(&path)?;
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
            file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time))?;
            file.set_permissions(Permissions::from_mode(0o642))?;
            direct.set_owner(&path)?;
        }
        direct.batch(
            "put -p 0\nput -p 1\nput -p 2\nget -p 0 0.back\nget -p 1 1.back\nget -p 2 2.back",
        )?;
        for (number, time) in times.into_iter().enumerate() {
            for path in [
                server_dir.join(number.to_string()),
                client_dir.join(format!("{number}.back")),
            ] {
                let meta = fs::metadata(&path)?;
                let seen = (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec());
                ensure!(
                    seen == (0o642, time as i64, 0),
                    "{}: {seen:?}",
                    path.display()
                );
            }
        }
        Ok(())
    })
}

#[test]
fn umask_option_applies_to_new_files() -> Result<()> {
    Direct::for_each_user(|direct| {
        let server_dir = direct.server_dir();
        fs::write(direct.client_dir().join("file"), "content")?;
        // Without -p, the client requests the local file's mode for a file, and 0777 for a directory. The umask must apply to both.
        fs::set_permissions(
            direct.client_dir().join("file"),
            Permissions::from_mode(0o666),
        )?;
        direct.batch_as("-u 027", "put file one\nmkdir two")?;
        direct.batch_as("-u 077", "put file three\nmkdir four")?;
        let modes = ["one", "two", "three", "four"].map(|name| mode(&server_dir.join(name)));
        let [one, two, three, four] = modes;
        ensure!((one?, two?, three?, four?) == (0o640, 0o750, 0o600, 0o700));
        Ok(())
    })
}

#[test]
fn names_with_any_bytes_are_transferred() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    Direct::for_each_user(|direct| {
        let (client_dir, server_dir) = (direct.client_dir(), direct.server_dir());
        let long = [b'x'; 255];
        let names: [&[u8]; 5] = [b"-n", "hör".as_bytes(), b"tab\there", b"\xff\xfe", &long];
        for (seed, name) in names.iter().enumerate() {
            create_file(&server_dir.join(OsStr::from_bytes(name)), seed as u64, 10)?;
        }
        direct.batch("get *")?;
        for name in names {
            let name = OsStr::from_bytes(name);
            ensure_same(&server_dir.join(name), &client_dir.join(name))?;
        }
        direct.ensure_refused(&format!("mkdir {}", "x".repeat(256)), "Bad message")
    })
}

#[test]
fn session_continues_after_refused_requests() -> Result<()> {
    Direct::for_each_user(|direct| {
        let server_dir = direct.server_dir();
        fs::write(server_dir.join("secret"), "content")?;
        fs::set_permissions(server_dir.join("secret"), Permissions::from_mode(0o000))?;
        fs::write(direct.client_dir().join("file"), "content")?;
        let lines =
            "-get nothing\n-get secret\n-mkdir a/b\n-put file no/such\n-rm nothing\nput file after";
        direct.batch(lines)?;
        ensure!(fs::read(server_dir.join("after"))? == b"content");
        if direct.user.is_some() {
            direct.ensure_refused("get secret", "Permission denied")?;
            fs::create_dir(server_dir.join("closed"))?;
            fs::set_permissions(server_dir.join("closed"), Permissions::from_mode(0o555))?;
            direct.ensure_refused("put file closed/file", "Permission denied")?;
        }
        Ok(())
    })
}
