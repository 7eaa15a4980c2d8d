//! Whose a session is, as far as is known.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::partner::table::Known;

/// The partner whose a session is: nobody's at first, and perhaps another's later. As small as a pointer, because
/// every session has one.
#[derive(Default)]
pub(super) struct Owner(Cell<Option<Arc<Known>>>);

impl Owner {
    /// Which partner it is; takes a count that cores share.
    pub(super) fn get(&self) -> Option<Arc<Known>> {
        self.look(|known| known.map(Arc::clone))
    }

    /// Whether it is a partner's.
    pub(super) fn is_known(&self) -> bool {
        self.look(|known| known.is_some())
    }

    /// Whether it is that of the partner called `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.look(|known| known.is_some_and(|known| *known.name == *name))
    }

    /// The partner's name.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.look(|known| known.map(|known| Arc::clone(&known.name)))
    }

    /// From here on it is this partner's; whether it was not.
    pub(super) fn set(&self, known: &Arc<Known>) -> bool {
        let is_new = !self.is(&known.name);
        if is_new {
            self.0.set(Some(Arc::clone(known)));
        }
        is_new
    }

    /// Looks at the partner without a count that cores share. Nothing that `look` calls may look, too: it would find
    /// nobody.
    pub(super) fn look<A>(&self, look: impl FnOnce(Option<&Arc<Known>>) -> A) -> A {
        let known = self.0.take();
        let answer = look(known.as_ref());
        self.0.set(known);
        answer
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owner").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::session::tests::known;

    #[test]
    fn it_is_nobodys_then_one_partners_then_anothers() {
        let owner = Owner::default();
        assert!(!owner.is_known() && owner.get().is_none());
        let (fabrikam, contoso) = (known("fabrikam"), known("contoso"));
        assert!(owner.set(&fabrikam));
        assert!(!owner.set(&fabrikam), "that is no news");
        assert!(owner.is("fabrikam") && !owner.is("contoso"));
        assert!(owner.set(&contoso));
        assert_eq!(owner.name().as_deref(), Some("contoso"));
        assert_eq!(size_of::<Owner>(), size_of::<usize>());
        assert_eq!(
            Arc::strong_count(&fabrikam),
            1,
            "who was it before is let go of"
        );
    }
}
