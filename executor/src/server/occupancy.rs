//! How many of an executor's slots are taken, and whether it takes anything new; told to whoever watches.

use std::sync::Arc;

use tokio::sync::watch;

/// What is known of the slots now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// How many there are.
    pub all: usize,
    /// How many attempts have one.
    pub taken: usize,
    /// Whether nothing new is taken any more.
    pub draining: bool,
    /// Whether the machine is to be given nothing new for now.
    pub cordoned: bool,
}

impl Slots {
    /// Tells whether nothing new is taken, however many are free.
    pub fn is_closed(&self) -> bool {
        self.draining || self.cordoned
    }
}

/// The slots of an executor. Clones share them.
#[derive(Clone, Debug)]
pub struct Occupancy(Arc<watch::Sender<Slots>>);

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All are taken.
    Full,
    /// Nothing new is taken.
    Draining,
}

/// A slot, taken until it is dropped.
#[derive(Debug)]
pub struct Slot(Occupancy);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.send_modify(|slots| slots.taken -= 1);
    }
}

impl Occupancy {
    /// Starts with all slots free.
    pub fn new(slots: usize) -> Self {
        Self(Arc::new(watch::channel(Slots { all: slots, taken: 0, draining: false, cordoned: false }).0))
    }

    /// Takes a slot for a new attempt.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn take(&self) -> Result<Slot, NoSlot> {
        let mut taken = Ok(());
        self.0.send_if_modified(|slots| {
            taken = match slots {
                slots if slots.is_closed() => Err(NoSlot::Draining),
                slots if slots.taken >= slots.all => Err(NoSlot::Full),
                slots => {
                    slots.taken += 1;
                    Ok(())
                }
            };
            taken.is_ok()
        });
        taken.map(|()| Slot(self.clone()))
    }

    /// Takes a slot for an attempt that runs already, whether there is one or not.
    pub fn hold(&self) -> Slot {
        self.0.send_modify(|slots| slots.taken += 1);
        Slot(self.clone())
    }

    /// Takes nothing new from now on.
    pub fn drain(&self) {
        self.0.send_if_modified(|slots| !std::mem::replace(&mut slots.draining, true));
    }

    /// Says whether the machine is to be given nothing new; returns whether that is news.
    pub fn cordon(&self, cordoned: bool) -> bool {
        self.0.send_if_modified(|slots| std::mem::replace(&mut slots.cordoned, cordoned) != cordoned)
    }

    /// Returns what is known now.
    pub fn slots(&self) -> Slots {
        *self.0.borrow()
    }

    /// Returns what tells of every change.
    pub fn watch(&self) -> watch::Receiver<Slots> {
        self.0.subscribe()
    }

    /// Waits until nothing new is taken and nothing runs any more.
    pub async fn drained(&self) {
        // It cannot fail: this holds the sender.
        let _ = self.watch().wait_for(|slots| slots.draining && slots.taken == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_is_free_again_when_it_is_dropped_and_a_drained_executor_takes_nothing() {
        let occupancy = Occupancy::new(2);
        let first = occupancy.take().unwrap();
        let second = occupancy.take().unwrap();
        assert_eq!(occupancy.take().unwrap_err(), NoSlot::Full);
        let mut watch = occupancy.watch();
        drop(first);
        assert!(watch.has_changed().unwrap());
        assert_eq!(*watch.borrow_and_update(), Slots { all: 2, taken: 1, draining: false, cordoned: false });
        assert!(occupancy.cordon(true) && !occupancy.cordon(true));
        assert_eq!(occupancy.take().unwrap_err(), NoSlot::Draining, "for now");
        assert!(occupancy.cordon(false));
        drop(occupancy.take().unwrap());
        occupancy.drain();
        assert_eq!(occupancy.take().unwrap_err(), NoSlot::Draining);
        let drained = tokio::spawn({
            let occupancy = occupancy.clone();
            async move { occupancy.drained().await }
        });
        assert!(!drained.is_finished());
        drop(second);
        drained.await.unwrap();
    }
}
