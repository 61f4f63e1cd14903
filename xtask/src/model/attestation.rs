//! What BuildKit can say of a build beside its images: in-toto statements, listed in the index for `unknown/unknown`
//! (BuildKit's "Attestation storage"). An index that lists them has another digest than one that does not.

use serde::Serialize;

/// Which of them are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attestations {
    /// How the image was built (SLSA), in all detail.
    pub provenance: bool,
    /// What it holds, by BuildKit's own scanner.
    pub sbom: bool,
}

impl Attestations {
    /// Neither: what a build asks for unless flags say otherwise, and the only case in which an image can be assembled.
    pub const NONE: Attestations = Attestations {
        provenance: false,
        sbom: false,
    };

    /// The flags that ask for them; None when none is.
    pub fn names(self) -> Option<&'static str> {
        match (self.provenance, self.sbom) {
            (false, false) => None,
            (true, false) => Some("--provenance"),
            (false, true) => Some("--sbom"),
            (true, true) => Some("--provenance --sbom"),
        }
    }
}
