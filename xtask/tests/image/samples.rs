//! The sample configurations in image/, tested with Kubernetes' types, with systemd and with the server.

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
use xtask::setup;

/// The owner (UID) of volumes that the server may write to.
const USER: u32 = 65534;
/// The path that every sample exports.
const EXPORT: &str = "/srv";
const PORT: u16 = 2049;
/// The command of the readiness and liveness probes in the samples.
const PROBE: [&str; 3] = ["/stowaway", "check", "nfs"];

fn sample(name: &str) -> PathBuf {
    workspace_root().join("image").join(name)
}

/// Parses the objects of a YAML file by Kubernetes' Python types.
fn objects(file: &Path) -> Result<Vec<Value>> {
    setup::install_packages(&["python3", "python3-kubernetes"])?;
    let script = workspace_root().join("xtask/tests/image/manifests.py");
    let printed = setup::run_captured(Command::new("/usr/bin/python3").args([&script, file]))?;
    Ok(serde_json::from_str(&printed)?)
}

/// Returns the `spec` of the object with this kind and name.
fn spec(objects: &[Value], kind: &str, name: &str) -> Result<Value> {
    let object = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = object.with_context(|| format!("the file has no {kind} {name}"))?;
    Ok(object["spec"].clone())
}

/// The only element of a list.
fn single_element(list: &Value) -> Result<&Value> {
    match list.as_array().map(Vec::as_slice) {
        Some([one]) => Ok(one),
        _ => bail!("expected one element: {list}"),
    }
}

/// Returns the arguments of a pod's container. Checks that the container has no more privileges than it needs.
fn arguments(pod: &Value) -> Result<Vec<String>> {
    let container = single_element(&pod["containers"])?;
    let rights = (&pod["securityContext"], &container["securityContext"]);
    ensure!(
        rights.0["runAsNonRoot"] == true
            && rights.0["runAsUser"] == USER
            && rights.1["readOnlyRootFilesystem"] == true
            && rights.1["allowPrivilegeEscalation"] == false
            && rights.1["capabilities"] == json!({"drop": ["ALL"]}),
        "the container has too many privileges: {rights:?}"
    );
    let image = container["image"].as_str().unwrap_or_default();
    ensure!(
        image.ends_with(concat!("/stowaway:", env!("CARGO_PKG_VERSION"))),
        "{image} does not have this version"
    );
    let port = single_element(&container["ports"])?;
    ensure!(port["containerPort"] == PORT, "{container}");
    let (ready, live) = (&container["readinessProbe"], &container["livenessProbe"]);
    ensure!(
        ready["exec"]["command"] == json!(PROBE) && ready["timeoutSeconds"] == 4,
        "{ready}"
    );
    // A restart mends no disk that stalls, so it is no reason for one.
    ensure!(
        live.is_null() || live["tcpSocket"]["port"] == port["name"],
        "{live}"
    );
    let (mount, volume) = (
        single_element(&container["volumeMounts"])?,
        single_element(&pod["volumes"])?,
    );
    ensure!(
        mount["mountPath"] == EXPORT && mount["name"] == volume["name"],
        "the volume is not mounted at {EXPORT}: {mount} {volume}"
    );
    Ok(serde_json::from_value(container["args"].clone())?)
}

/// Runs the image in a container with these arguments, as a cluster would. A client mounts the export, and writes if `writable`.
fn ensure_serves(arguments: &[String], writable: bool) -> Result<()> {
    if !root_for("a sample's arguments in a container") {
        return Ok(());
    }
    setup::install_packages(&["libnfs-utils", "iproute2"])?;
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
    let stdout = podman.podman(&[&["exec", "sample"], &PROBE[..]].concat())?;
    ensure!(
        stdout == format!("nfs: 127.0.0.1:{PORT} serves, exports: 1\n"),
        "{stdout}"
    );
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    podman.inside(|| {
        let root = Client::connect(server)?.mount(EXPORT)?;
        Client::connect(server)?.lookup(&root, "here").map(drop)
    })?;
    if writable {
        let url = format!("nfs://127.0.0.1{EXPORT}/new?version=3&nfsport={PORT}&mountport={PORT}");
        let source = tree.path().join("here");
        setup::run_captured(podman.command_inside("nfs-cp").arg(&source).arg(&url))?;
        let written = fs::read(tree.path().join("new")).context("the new file does not exist")?;
        ensure!(written == b"content", "the new file contains {written:?}");
    }
    Ok(())
}

#[test]
fn shared_disk_sample_mounts_by_service_address() -> Result<()> {
    let objects = objects(&sample("kubernetes/files.yaml"))?;
    let deployment = spec(&objects, "Deployment", "files")?;
    let pod = &deployment["template"]["spec"];
    let arguments = arguments(pod)?;
    let disk = single_element(&pod["volumes"])?["persistentVolumeClaim"]["claimName"].as_str();
    spec(
        &objects,
        "PersistentVolumeClaim",
        disk.context("the pod has no disk")?,
    )?;

    let service = spec(&objects, "Service", "files")?;
    let labels = &deployment["template"]["metadata"]["labels"];
    ensure!(
        deployment["selector"]["matchLabels"] == *labels && service["selector"] == *labels,
        "a selector does not match {labels}"
    );
    let volume = spec(&objects, "PersistentVolume", "files")?;
    ensure!(
        volume["nfs"] == json!({"server": service["clusterIP"], "path": EXPORT}),
        "{} is not the address of the service",
        volume["nfs"]
    );
    // A client knows this port, and needs no other by version 4.1.
    ensure!(single_element(&service["ports"])?["port"] == 2049);
    let options: Vec<String> = serde_json::from_value(volume["mountOptions"].clone())?;
    ensure!(options.contains(&"vers=4.1".to_owned()), "{options:?}");
    let claim = spec(&objects, "PersistentVolumeClaim", "files")?;
    ensure!(
        claim["volumeName"] == "files"
            && claim["storageClassName"] == volume["storageClassName"]
            && claim["accessModes"] == volume["accessModes"],
        "the claim does not match the volume: {claim}"
    );
    ensure_serves(&arguments, true)
}

#[test]
fn daemon_set_sample_serves_each_nodes_directory() -> Result<()> {
    let objects = objects(&sample("kubernetes/nodes.yaml"))?;
    let set = spec(&objects, "DaemonSet", "node-files")?;
    let pod = &set["template"]["spec"];
    ensure!(
        pod["hostNetwork"] == true,
        "the pod does not use the node's network"
    );
    ensure!(
        set["selector"]["matchLabels"] == set["template"]["metadata"]["labels"],
        "the selector does not match the pod's labels"
    );
    ensure_serves(&arguments(pod)?, false)
}

#[test]
fn systemd_unit_is_valid_and_server_starts() -> Result<()> {
    const INSTALLED: &str = "/usr/local/sbin/stowaway";
    setup::install_packages(&["systemd"])?;
    let text = fs::read_to_string(sample("stowaway.service"))?;
    let directory = public_dir()?;
    let unit = directory.path().join("stowaway.service");
    // systemd requires the program to exist. It is not installed here, so the unit gets the path of the built file.
    let program = binary(Arch::X86_64)?.display().to_string();
    fs::write(&unit, text.replace(INSTALLED, &program))?;
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()?;
    // systemd only warns of an unknown setting, so stderr must be empty too.
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // systemd's exposure level of the unit, in tenths of its scale of 0 to 10, must be at most 20.
    setup::run_captured(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(&unit),
    )?;
    let command = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .and_then(|line| line.strip_prefix(INSTALLED))
        .context("the unit does not start {INSTALLED}")?;
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    ensure_serves(&arguments, false)
}
