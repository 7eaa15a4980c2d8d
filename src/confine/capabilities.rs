//! Capabilities: all but a few go, from every set.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::{Measure, Refused};

/// Keeps of the calling thread's capabilities those in `wanted`, and hands none on.
///
/// The bounding set, which no program matters for that can get no new privileges, is left as it is by whoever may not
/// change it (`CAP_SETPCAP`).
pub(super) fn keep(wanted: CapabilitySet) -> Result<(), Refused> {
    try_keep(wanted).map_err(|cause| Refused {
        measure: Measure::Capabilities,
        cause: cause.to_string(),
        remedy: "let whatever starts it allow capset(2) and prctl(2)",
    })
}

fn try_keep(wanted: CapabilitySet) -> Result<(), Errno> {
    for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !wanted.contains(capability) => {
                match remove_capability_from_bounding_set(capability) {
                    Ok(()) | Err(Errno::PERM) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(_) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    clear_ambient_capability_set()?;
    let kept = capabilities(None)?.permitted & wanted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
