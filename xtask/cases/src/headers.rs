//! RPC headers, valid and not, with the outcomes that RFC 5531 defines. Sent to the engines in unit tests, and to the built server
//! in end-to-end tests.

use nfs3_types::{mount, nfs3};

use crate::calls::{Auth, Call, ProcedureId, head};
use crate::replies::Outcome;

/// RFC 5531 section 9, `auth_stat`.
const AUTH_BADCRED: u32 = 1;
const AUTH_REJECTEDCRED: u32 = 2;
const AUTH_BADVERF: u32 = 3;

const NULL: ProcedureId = (nfs3::PROGRAM, 3, 0);
const SUCCESS: Outcome<'static> = Outcome::Success(&[]);

/// A call of NFS without arguments.
pub struct Case {
    pub message: Vec<u8>,
    pub outcome: Outcome<'static>,
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |message, outcome| cases.push(Case { message, outcome });
    for version in [0, 1, 3, u32::MAX] {
        add(
            head(1, version, NULL, &Auth::none()),
            Outcome::RpcMismatch { low: 2, high: 2 },
        );
    }
    let versions = Outcome::ProgramMismatch { low: 3, high: 3 };
    // PROG_MISMATCH has one range of versions. MOUNT supports 1 and 3, so its range includes 2, which is not supported.
    let mount_versions = Outcome::ProgramMismatch { low: 1, high: 3 };
    for (program, version, procedure, outcome) in [
        (nfs3::PROGRAM, 0, 0, versions),
        (nfs3::PROGRAM, u32::MAX, 0, versions),
        (nfs3::PROGRAM, 2, 1, versions),
        (nfs3::PROGRAM, 4, 1, versions),
        (nfs3::PROGRAM, 4, 99, versions),
        (nfs3::PROGRAM, 3, 22, Outcome::ProcedureUnavailable),
        (nfs3::PROGRAM, 3, u32::MAX, Outcome::ProcedureUnavailable),
        (mount::PROGRAM, 0, 1, mount_versions),
        (mount::PROGRAM, 4, 1, mount_versions),
        (mount::PROGRAM, 3, 6, Outcome::ProcedureUnavailable),
        (100_227, 3, 0, Outcome::ProgramUnavailable),
        (0, 0, 0, Outcome::ProgramUnavailable),
    ] {
        let procedure = (program, version, procedure);
        add(head(1, 2, procedure, &Auth::none()), outcome);
    }
    for (auth, outcome) in credentials() {
        add(Call::null().message(1, &auth), outcome);
    }
    for (len, outcome) in [
        (0, SUCCESS),
        (400, SUCCESS),
        (401, Outcome::AuthError(AUTH_BADVERF)),
        (404, Outcome::AuthError(AUTH_BADVERF)),
        (4000, Outcome::AuthError(AUTH_BADVERF)),
    ] {
        // Replaces the empty verifier by one of `len` bytes.
        let mut message = Call::null().message(1, &Auth::none());
        message.truncate(message.len() - 4);
        message.extend((len as u32).to_be_bytes());
        message.resize((message.len() + len).next_multiple_of(4), 0);
        add(message, outcome);
    }
    // The credential is longer than the message.
    for len in [65, 1000, 0x7fff_ffff, 0xffff_fffd, 0xffff_ffff] {
        let head = [1, 0, 2, nfs3::PROGRAM, 3, 0, 1, len].map(u32::to_be_bytes);
        let message = [&head.concat()[..], &[0; 40]].concat();
        add(message, Outcome::AuthError(AUTH_BADCRED));
    }
    cases
}

/// Credentials, and the outcomes of calls that have them.
fn credentials() -> Vec<(Auth, Outcome<'static>)> {
    const AUTH_DH: u32 = 3;
    const RPCSEC_GSS: u32 = 6;
    const KRB5: u32 = 390_003;
    let sys = |machine_len: usize, group_count: u32| {
        let groups: Vec<u32> = (0..group_count).collect();
        Auth::sys(&vec![b'm'; machine_len], 0, 0, &groups)
    };
    let other = |flavor, len| Auth {
        flavor,
        body: vec![0; len],
    };
    let good = [sys(0, 0), sys(255, 16), Auth::none()];
    let unknown = [2, AUTH_DH, RPCSEC_GSS, KRB5, u32::MAX].map(|flavor| other(flavor, 8));
    let short = (0..20).step_by(4).map(|len| other(1, len));
    let wrong_count = [u32::MAX, 17, 1 << 30].map(|count| {
        let mut auth = sys(1, 4);
        let index = auth.body.len() - 20;
        auth.body[index..index + 4].copy_from_slice(&count.to_be_bytes());
        auth
    });
    let long = [sys(256, 0), sys(0, 17), sys(400, 0), other(0, 404)];
    let bad = short.chain(wrong_count).chain(long);
    let good = good.into_iter().map(|auth| (auth, SUCCESS));
    let unknown = unknown
        .into_iter()
        .map(|auth| (auth, Outcome::AuthError(AUTH_REJECTEDCRED)));
    good.chain(unknown)
        .chain(bad.map(|auth| (auth, Outcome::AuthError(AUTH_BADCRED))))
        .collect()
}
