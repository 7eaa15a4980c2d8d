//! Threads with a runtime of their own, on which nothing needs to be `Send`.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};

/// Starts a thread called `name` that runs `work` to its end. Returns once the runtime stands.
///
/// # Errors
///
/// No thread, or no descriptors for its runtime.
pub fn spawn<W>(name: &str, work: impl FnOnce() -> W + Send + 'static) -> io::Result<JoinHandle<()>>
where
    W: Future<Output = ()>,
{
    let (tell, told) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            match Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => {
                    let _ = tell.send(Ok(()));
                    runtime.block_on(work());
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })?;
    told.recv().map_err(io::Error::other)??;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_tasks_that_are_not_send() {
        let (tell, told) = sync_channel(1);
        let thread = spawn("test", move || async move {
            let number = std::rc::Rc::new(7);
            let task = tokio::task::spawn_local(async move { *number });
            let _ = tell.send(task.await.unwrap());
        });
        thread.unwrap().join().unwrap();
        assert_eq!(told.recv().unwrap(), 7);
    }
}
