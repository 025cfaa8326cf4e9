//! The samples in image/ are held against what reads them: Kubernetes' types, systemd, and the server itself.

use super::images;
use super::podman::Podman;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::build::{Arch, workspace_root};
use xtask::clients::nfs::Client;
use xtask::machines::server::{Namespace, binary, public_dir, root_for};
use xtask::setup::{self, Package};

/// Whom volumes belong to where the server may write.
const USER: u32 = 65534;
/// Where all samples have what they serve.
const EXPORT: &str = "/srv";
const PORT: u16 = 2049;
/// How a cluster asks whether it serves.
const PROBE: [&str; 3] = ["/stowaway", "check", "nfs"];

fn sample(name: &str) -> PathBuf {
    workspace_root().join("image").join(name)
}

/// The objects of a file, as Kubernetes' types understand them.
fn objects(file: &Path) -> Result<Vec<Value>> {
    setup::need(&[Package::PYTHON, Package::PYTHON_KUBERNETES])?;
    let script = workspace_root().join("xtask/tests/image/manifests.py");
    let printed = setup::quietly(Command::new("/usr/bin/python3").args([&script, file]))?;
    Ok(serde_json::from_str(&printed)?)
}

/// What an object says below `spec`.
fn spec(objects: &[Value], kind: &str, name: &str) -> Result<Value> {
    let object = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = object.with_context(|| format!("there is no {kind} {name}"))?;
    Ok(object["spec"].clone())
}

/// The only one of a list.
fn only(list: &Value) -> Result<&Value> {
    match list.as_array().map(Vec::as_slice) {
        Some([one]) => Ok(one),
        _ => bail!("it should be one: {list}"),
    }
}

/// What a pod's container is given, after it was seen that it gets no more rights than it needs.
fn arguments(pod: &Value) -> Result<Vec<String>> {
    let container = only(&pod["containers"])?;
    let rights = (&pod["securityContext"], &container["securityContext"]);
    ensure!(
        rights.0["runAsNonRoot"] == true
            && rights.0["runAsUser"] == USER
            && rights.1["readOnlyRootFilesystem"] == true
            && rights.1["allowPrivilegeEscalation"] == false
            && rights.1["capabilities"] == json!({"drop": ["ALL"]}),
        "it has rights: {rights:?}"
    );
    let image = container["image"].as_str().unwrap_or_default();
    ensure!(
        image.ends_with(concat!("/stowaway:", env!("CARGO_PKG_VERSION"))),
        "{image} is not this version"
    );
    let port = only(&container["ports"])?;
    ensure!(port["containerPort"] == PORT, "{container}");
    for name in ["readinessProbe", "livenessProbe"] {
        let probe = &container[name];
        ensure!(
            probe.is_null() && name == "livenessProbe"
                || probe["exec"]["command"] == json!(PROBE) && probe["timeoutSeconds"] == 4,
            "{name}: {probe}"
        );
    }
    let (mount, volume) = (only(&container["volumeMounts"])?, only(&pod["volumes"])?);
    ensure!(
        mount["mountPath"] == EXPORT && mount["name"] == volume["name"],
        "{mount} of {volume}"
    );
    Ok(serde_json::from_value(container["args"].clone())?)
}

/// Gives the built server these arguments in a container, as a cluster would; then a client mounts, and writes if it is to.
fn serves(arguments: &[String], writable: bool) -> Result<()> {
    if !root_for("a sample's arguments in a container") {
        return Ok(());
    }
    setup::need(&[Package::LIBNFS, Package::IPROUTE2])?;
    let podman = Podman::new(Some(Namespace::new()?))?;
    let image = podman.pull(&images()?.layout, "latest", &[])?;
    let tree = public_dir()?;
    chown(tree.path(), Some(USER), Some(USER))?;
    fs::write(tree.path().join("here"), "content")?;
    let mode = if writable { "rw" } else { "ro" };
    let volume = format!("--volume={}:{EXPORT}:{mode}", tree.path().display());
    let mut words = vec!["--detach", "--name=sample", "--read-only", "--cap-drop=all"];
    words.extend([volume.as_str(), image.as_str()]);
    words.extend(arguments.iter().map(String::as_str));
    podman.run(&words)?;
    podman.wait_for_line("sample", "for NFS and MOUNT", 1)?;
    let said = podman.podman(&[&["exec", "sample"], &PROBE[..]].concat())?;
    ensure!(
        said == format!("nfs: 127.0.0.1:{PORT} serves, exports: 1\n"),
        "{said}"
    );
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    podman.inside(|| {
        let root = Client::connect(server)?.mount(EXPORT)?;
        Client::connect(server)?.lookup(&root, "here").map(drop)
    })?;
    if writable {
        let url = format!("nfs://127.0.0.1{EXPORT}/new?version=3&nfsport={PORT}&mountport={PORT}");
        let source = tree.path().join("here");
        setup::quietly(podman.command_inside("nfs-cp").arg(&source).arg(&url))?;
        let written = fs::read(tree.path().join("new")).context("nothing was written")?;
        ensure!(written == b"content", "{written:?} was written");
    }
    Ok(())
}

#[test]
fn a_cluster_shares_one_disk_among_pods_that_mount_by_the_services_address() -> Result<()> {
    let objects = objects(&sample("kubernetes/files.yaml"))?;
    let deployment = spec(&objects, "Deployment", "files")?;
    let pod = &deployment["template"]["spec"];
    let arguments = arguments(pod)?;
    let disk = only(&pod["volumes"])?["persistentVolumeClaim"]["claimName"].as_str();
    spec(
        &objects,
        "PersistentVolumeClaim",
        disk.context("it has no disk")?,
    )?;

    let service = spec(&objects, "Service", "files")?;
    let labels = &deployment["template"]["metadata"]["labels"];
    ensure!(
        deployment["selector"]["matchLabels"] == *labels && service["selector"] == *labels,
        "not every selector selects {labels}"
    );
    let volume = spec(&objects, "PersistentVolume", "files")?;
    ensure!(
        volume["nfs"] == json!({"server": service["clusterIP"], "path": EXPORT}),
        "{} is not the service",
        volume["nfs"]
    );
    let port = &only(&service["ports"])?["port"];
    let options: Vec<String> = serde_json::from_value(volume["mountOptions"].clone())?;
    for option in ["vers=3", "nolock", "proto=tcp", "mountproto=tcp"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("port={port}"), format!("mountport={port}")])
    {
        ensure!(options.contains(&option), "no {option} in {options:?}");
    }
    let claim = spec(&objects, "PersistentVolumeClaim", "files")?;
    ensure!(
        claim["volumeName"] == "files"
            && claim["storageClassName"] == volume["storageClassName"]
            && claim["accessModes"] == volume["accessModes"],
        "the claim does not fit: {claim}"
    );
    serves(&arguments, true)
}

#[test]
fn every_node_of_a_cluster_serves_a_directory_of_its_own() -> Result<()> {
    let objects = objects(&sample("kubernetes/nodes.yaml"))?;
    let set = spec(&objects, "DaemonSet", "node-files")?;
    let pod = &set["template"]["spec"];
    ensure!(pod["hostNetwork"] == true, "it is not the node's network");
    ensure!(
        set["selector"]["matchLabels"] == set["template"]["metadata"]["labels"],
        "it selects others"
    );
    serves(&arguments(pod)?, false)
}

#[test]
fn a_manifest_that_kubernetes_would_not_take_is_seen() -> Result<()> {
    let text = fs::read_to_string(sample("kubernetes/nodes.yaml"))?;
    let directory = public_dir()?;
    let broken = directory.path().join("broken.yaml");
    for (good, bad, why) in [
        ("readOnlyRoot", "readonlyRoot", "would understand"),
        (
            "hostNetwork: true",
            "hostNetwork: maybe",
            "would understand",
        ),
        ("PeriodSeconds: 10", "PeriodSeconds: ten", "ValueError"),
        ("  template:", "  templates:", "must not be `None`"),
        ("apps/v1", "v1", "is of apps/v1"),
        ("hostNetwork: true", "hostNetwork: [true", "ParserError"),
    ] {
        ensure!(text.contains(good), "the sample has no {good}");
        fs::write(&broken, text.replace(good, bad))?;
        let said = objects(&broken).err().map(|error| error.to_string());
        ensure!(
            said.as_ref().is_some_and(|said| said.contains(why)),
            "of {bad}: {said:?}"
        );
    }
    Ok(())
}

#[test]
fn systemd_understands_the_unit_and_the_server_its_command() -> Result<()> {
    const INSTALLED: &str = "/usr/local/sbin/stowaway";
    setup::need(&[Package::SYSTEMD])?;
    let text = fs::read_to_string(sample("stowaway.service"))?;
    let directory = public_dir()?;
    let unit = directory.path().join("stowaway.service");
    // systemd wants to see the program, which is not installed here.
    let program = binary(Arch::X86_64)?.display().to_string();
    fs::write(&unit, text.replace(INSTALLED, &program))?;
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()?;
    // Of a word that it does not know it only warns.
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // In tenths, of 10 at most: how much it may do that it need not.
    setup::quietly(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(&unit),
    )?;
    let command = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .and_then(|line| line.strip_prefix(INSTALLED))
        .context("it does not start the server")?;
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    serves(&arguments, false)
}
