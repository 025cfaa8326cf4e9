//! What the host is called where nobody says it.

use super::world::World;
use anyhow::{Result, ensure};

#[test]
fn a_host_without_a_name_is_known_by_its_hardware() -> Result<()> {
    let world = World::new()?;
    let shown = world
        .ours
        .command("ip")
        .args(["link", "show", "eth0"])
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let address = shown.split("link/ether ").nth(1).unwrap_or_default();
    let last: String = address.split([':', ' ']).skip(3).take(3).collect();
    ensure!(last.len() == 6, "{shown}");
    let by_hardware = format!("stowaway-{last}");
    for (own, expect) in [
        ("localhost", &*by_hardware),
        ("localhost.localdomain", &by_hardware),
        ("(none)", &by_hardware),
        ("nas.example.org", "nas"),
    ] {
        let responder = world.announce_as(own, &[])?;
        responder.wait_for(&format!("announced {expect}.local"))?;
        responder.stop()?;
    }
    Ok(())
}
