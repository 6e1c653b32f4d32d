//! The Windows Service Control Manager: services installed and steered, and the running side of
//! one.
#![allow(unsafe_code, reason = "the manager calls the service through a C function")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use windows_service::service::{
    Service as Handle, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl,
    ServiceControlAccept, ServiceErrorControl, ServiceExitCode, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceStatus,
    ServiceType, UserEventCode,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::control::{Control, Link, Order, Word};
use super::{Logs, Manager, Service, ServiceError, State, Status, foreground};
use crate::log::event_log;

/// The control that reloads: Windows leaves 128 to 255 to the services. Another user of it,
/// `sc control NAME 128`, does the same.
const RELOAD: u32 = 128;
/// How long a start or stop may take, as systemd's units say.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end may take when Windows shuts down.
const PRESHUTDOWN: Duration = Duration::from_secs(30);
/// How often the manager is told that a start or stop goes on.
const BEAT: Duration = Duration::from_secs(2);
/// What it is told to expect until then.
const HINT: Duration = Duration::from_secs(10);
/// The account of a service for which none is named; it has no password.
const LOCAL_SYSTEM: &str = "LocalSystem";
/// ERROR_SERVICE_ALREADY_RUNNING.
const ALREADY_RUNNING: i32 = 1056;
/// ERROR_SERVICE_DOES_NOT_EXIST.
const NO_SUCH: i32 = 1060;
/// ERROR_SERVICE_NOT_ACTIVE.
const NOT_ACTIVE: i32 = 1062;
/// ERROR_SERVICE_EXISTS.
const EXISTS: i32 = 1073;

/// The services of this Windows.
#[derive(Debug)]
pub struct Scm;

impl Scm {
    fn open(name: &str, access: ServiceAccess) -> Result<Handle, ServiceError> {
        super::check_name(name)?;
        let manager = connect(ServiceManagerAccess::CONNECT)?;
        manager.open_service(name, access).map_err(|error| match code(&error) {
            Some(NO_SUCH) => ServiceError::Missing(name.to_owned()),
            _ => refused(format!("cannot open the service {name}"), &error),
        })
    }

    fn wait(name: &str, handle: &Handle, wanted: ServiceState) -> Result<(), ServiceError> {
        let began = Instant::now();
        loop {
            let status = handle
                .query_status()
                .map_err(|error| refused(format!("cannot ask for the state of {name}"), &error))?;
            if status.current_state == wanted {
                return Ok(());
            }
            let ended = status.current_state == ServiceState::Stopped;
            if ended || began.elapsed() > PATIENCE {
                let why =
                    format!("it is {:?}, exit code {:?}", status.current_state, status.exit_code);
                return Err(ServiceError::Refused {
                    what: format!("{name} did not become {wanted:?}"),
                    why: format!("{why}; the event log and `service logs` say more"),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Manager for Scm {
    fn install(&self, service: &Service, start: bool) -> Result<Vec<String>, ServiceError> {
        let name = &service.name;
        super::check_name(name)?;
        let manager =
            connect(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
        let info = ServiceInfo {
            name: name.into(),
            display_name: service.display_name.clone().into(),
            service_type: ServiceType::OWN_PROCESS,
            start_type: ServiceStartType::AutoStart,
            error_control: ServiceErrorControl::Normal,
            executable_path: service.program.clone(),
            launch_arguments: service.arguments.clone(),
            dependencies: Vec::new(),
            // Named, also where it is the default: else a service that had another account before
            // would keep that.
            account_name: Some(service.user.as_deref().unwrap_or(LOCAL_SYSTEM).into()),
            account_password: match (&service.user, &service.password) {
                (None, _) => Some(OsString::new()),
                (Some(_), password) => password.as_ref().map(|text| text.as_str().into()),
            },
        };
        let access = ServiceAccess::CHANGE_CONFIG
            | ServiceAccess::QUERY_STATUS
            | ServiceAccess::START
            | ServiceAccess::STOP;
        let mut done = Vec::new();
        let handle = match manager.create_service(&info, access) {
            Ok(handle) => {
                done.push(format!("the service {name} is made"));
                handle
            }
            Err(error) if code(&error) == Some(EXISTS) => {
                let handle = Self::open(name, access)?;
                handle.change_config(&info).map_err(|error| {
                    refused(format!("cannot change the service {name}"), &error)
                })?;
                done.push(format!("the service {name} is brought up to date"));
                handle
            }
            Err(error) => return Err(refused(format!("cannot make the service {name}"), &error)),
        };
        for (what, set) in [
            ("its description", handle.set_description(&service.description)),
            ("its delayed start", handle.set_delayed_auto_start(true)),
            ("its time at shutdown", handle.set_preshutdown_timeout(PRESHUTDOWN)),
            ("its restart after faults", handle.update_failure_actions(after_faults())),
            // An exit code other than 0 is a fault too.
            ("its restart after errors", handle.set_failure_actions_on_non_crash_failures(true)),
        ] {
            if let Err(error) = set {
                done.push(format!("warning: {what} cannot be set: {}", reason(&error)));
            }
        }
        if let Err(error) = event_log::register(name) {
            done.push(format!("warning: the event log does not know {name}: {error}"));
        }
        if start {
            stop(name, &handle)?;
            start_it(name, &handle)?;
            done.push(format!("{name} runs"));
        }
        Ok(done)
    }

    fn uninstall(&self, name: &str) -> Result<Vec<String>, ServiceError> {
        let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
        let handle = Self::open(name, access)?;
        stop(name, &handle)?;
        handle
            .delete()
            .map_err(|error| refused(format!("cannot remove the service {name}"), &error))?;
        let mut done = vec![format!("the service {name} is removed")];
        if let Err(error) = event_log::forget(name) {
            done.push(format!("warning: the event log still knows {name}: {error}"));
        }
        Ok(done)
    }

    fn start(&self, name: &str) -> Result<(), ServiceError> {
        start_it(name, &Self::open(name, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?)
    }

    fn stop(&self, name: &str) -> Result<(), ServiceError> {
        stop(name, &Self::open(name, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?)
    }

    fn restart(&self, name: &str) -> Result<(), ServiceError> {
        let access = ServiceAccess::START | ServiceAccess::STOP | ServiceAccess::QUERY_STATUS;
        let handle = Self::open(name, access)?;
        stop(name, &handle)?;
        start_it(name, &handle)
    }

    fn reload(&self, name: &str) -> Result<(), ServiceError> {
        let handle = Self::open(name, ServiceAccess::USER_DEFINED_CONTROL)?;
        UserEventCode::from_raw(RELOAD)
            .map_err(|error| error.to_string())
            .and_then(|code| handle.notify(code).map_err(|error| reason(&error)))
            .map(drop)
            .map_err(|why| ServiceError::Refused { what: format!("cannot reload {name}"), why })
    }

    fn status(&self, name: &str) -> Result<Status, ServiceError> {
        let handle = match Self::open(name, ServiceAccess::QUERY_STATUS) {
            Ok(handle) => handle,
            Err(ServiceError::Missing(_)) => {
                let text = format!("{name}: not installed\n");
                return Ok(Status { state: State::Missing, text });
            }
            Err(error) => return Err(error),
        };
        let status = handle
            .query_status()
            .map_err(|error| refused(format!("cannot ask for the state of {name}"), &error))?;
        let state = match (status.current_state, status.exit_code) {
            (ServiceState::Running, _) => State::Running,
            (ServiceState::Stopped, ServiceExitCode::Win32(0 | 1077)) => State::Stopped,
            (ServiceState::Stopped, _) => State::Failed,
            _ => State::Changing,
        };
        let mut text = format!("{name}: {:?}", status.current_state);
        if let Some(process) = status.process_id.filter(|process| *process != 0) {
            text.push_str(&format!(", process {process}"));
        }
        if state == State::Failed {
            text.push_str(&format!(", exit code {:?}; its log says more", status.exit_code));
        }
        text.push('\n');
        Ok(Status { state, text })
    }

    fn logs(&self, name: &str, logs: Logs) -> Result<(), ServiceError> {
        foreground::show_log(&foreground::log_folder(name), logs)
    }
}

/// Three tries after faults that come close together, then one a minute.
fn after_faults() -> ServiceFailureActions {
    let restart = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 3600)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart(5), restart(5), restart(60)]),
    }
}

fn start_it(name: &str, handle: &Handle) -> Result<(), ServiceError> {
    match handle.start::<&OsStr>(&[]) {
        Ok(()) => {}
        Err(error) if code(&error) == Some(ALREADY_RUNNING) => {}
        Err(error) => return Err(refused(format!("cannot start {name}"), &error)),
    }
    Scm::wait(name, handle, ServiceState::Running)
}

fn stop(name: &str, handle: &Handle) -> Result<(), ServiceError> {
    match handle.stop() {
        Ok(_) => Scm::wait(name, handle, ServiceState::Stopped),
        Err(error) if code(&error) == Some(NOT_ACTIVE) => Ok(()),
        Err(error) => Err(refused(format!("cannot stop {name}"), &error)),
    }
}

fn connect(access: ServiceManagerAccess) -> Result<ServiceManager, ServiceError> {
    ServiceManager::local_computer(None::<&str>, access).map_err(|error| {
        let what = "cannot reach the Service Control Manager (are you an administrator?)";
        refused(what.to_owned(), &error)
    })
}

fn refused(what: String, error: &windows_service::Error) -> ServiceError {
    ServiceError::Refused { what, why: reason(error) }
}

/// The number of Windows in an error.
fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

/// What Windows itself says.
fn reason(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// What a service does once it is started.
type Body = Box<dyn FnOnce(Control) -> u8 + Send>;

/// The one service of this process, for the C function that the manager calls.
static SERVICE: Mutex<Option<(String, Body)>> = Mutex::new(None);

define_windows_service!(called_by_windows, service_main);

/// Runs `body` as the service `name`; call it first thing in a process that the manager started.
/// Returns when the service has ended.
///
/// # Errors
/// When the manager did not start this process.
pub fn run(name: &str, body: impl FnOnce(Control) -> u8 + Send + 'static) -> io::Result<()> {
    let service = (name.to_owned(), Box::new(body) as Body);
    *SERVICE.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
    service_dispatcher::start(name, called_by_windows).map_err(|error| {
        io::Error::other(format!(
            "this is no service that the Service Control Manager started: {}",
            reason(&error)
        ))
    })
}

fn service_main(_arguments: Vec<OsString>) {
    let service = SERVICE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((name, body)) = service else { return };
    let (send, orders) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |control| {
        let order = match control {
            ServiceControl::Stop | ServiceControl::Preshutdown | ServiceControl::Shutdown => {
                Order::Stop
            }
            ServiceControl::UserEvent(code) if code.to_raw() == RELOAD => Order::Reload,
            ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
            _ => return ServiceControlHandlerResult::NotImplemented,
        };
        // Whoever no longer listens is ending already.
        let _ = send.send(order);
        ServiceControlHandlerResult::NoError
    };
    // Without a handle there is no one to tell.
    let Ok(handle) = service_control_handler::register(&name, handler) else { return };
    let states =
        Arc::new(States { handle, pending: Mutex::new(None), checkpoint: AtomicU32::new(0) });
    states.pend(ServiceState::StartPending);
    let over = Arc::new(AtomicBool::new(false));
    let beat = std::thread::spawn({
        let (states, over) = (Arc::clone(&states), Arc::clone(&over));
        move || {
            while !over.load(Ordering::SeqCst) {
                std::thread::park_timeout(BEAT);
                states.beat();
            }
        }
    });
    let link = Arc::new(ManagerLink(Arc::clone(&states)));
    let exit = body(Control::by_manager(orders, link));
    over.store(true, Ordering::SeqCst);
    beat.thread().unpark();
    // It only sets states.
    let _ = beat.join();
    states.settle(ServiceState::Stopped, exit);
}

/// What the manager knows of this service.
struct States {
    handle: ServiceStatusHandle,
    /// The start or end that is under way.
    pending: Mutex<Option<ServiceState>>,
    checkpoint: AtomicU32,
}

impl States {
    /// A start or end begins.
    fn pend(&self, state: ServiceState) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.beat();
    }

    /// It goes on.
    fn beat(&self) {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = *pending {
            let checkpoint = self.checkpoint.fetch_add(1, Ordering::SeqCst) + 1;
            self.tell(state, checkpoint, HINT, 0);
        }
    }

    /// It is over.
    fn settle(&self, state: ServiceState, exit: u8) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending = None;
        self.checkpoint.store(0, Ordering::SeqCst);
        self.tell(state, 0, Duration::ZERO, exit);
    }

    fn tell(&self, state: ServiceState, checkpoint: u32, wait_hint: Duration, exit: u8) {
        let accepted = match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            _ => ServiceControlAccept::empty(),
        };
        let exit_code = match exit {
            0 => ServiceExitCode::Win32(0),
            code => ServiceExitCode::ServiceSpecific(code.into()),
        };
        // A manager that does not listen cannot be helped.
        let _ = self.handle.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: accepted,
            exit_code,
            checkpoint,
            wait_hint,
            process_id: None,
        });
    }
}

struct ManagerLink(Arc<States>);

impl Link for ManagerLink {
    fn say(&self, word: Word<'_>) {
        match word {
            Word::Ready(_) => self.0.settle(ServiceState::Running, 0),
            Word::Stopping(_) => self.0.pend(ServiceState::StopPending),
            // The manager has no state for these.
            Word::Reloading | Word::Status(_) => {}
        }
    }
}
