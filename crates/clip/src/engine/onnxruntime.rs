//! The faster engine, when it is there: ONNX Runtime, loaded as a shared library while running.
//!
//! `ort` panics when it has to find a library by itself and fails. Here the library is always loaded explicitly with
//! `ort::init_from`, before any other call, so that a missing, wrong or old one is a sentence. A process can load one
//! library, once; the first that works stays.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use half::f16;
use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use super::own_thread::on_own_thread;
use super::provider::Provider;
use super::{Data, Element, Engine, Input, Output, Port, guarded};

/// The library of this process, once one has been loaded.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

#[derive(Clone)]
struct Loaded {
    environment: Environment,
    /// Version and path, for people.
    description: String,
}

/// Looks for ONNX Runtime and loads it: at `library` if given, else at `ORT_DYLIB_PATH`, else beside the program and
/// where the system looks. Returns its version and path, or why there is none.
pub fn onnxruntime_available(library: Option<&Path>) -> Result<String, String> {
    loaded(library).map(|loaded| loaded.description)
}

fn loaded(library: Option<&Path>) -> Result<Loaded, String> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        return Ok(loaded.clone());
    }
    let mut refusals = Vec::new();
    for candidate in candidates(library) {
        match guarded("ONNX Runtime", || open(&candidate)) {
            Ok(loaded) => return Ok(slot.insert(loaded).clone()),
            Err(reason) => refusals.push(reason),
        }
    }
    Err(refusals.join("; "))
}

fn open(path: &Path) -> Result<Loaded, String> {
    // dlopen's own words for a missing file are many and name the system's search path
    if path.components().count() > 1 && !path.is_file() {
        return Err(format!("{} is not there", path.display()));
    }
    let builder = ort::init_from(path).map_err(|error| error.to_string())?;
    let environment = builder
        .with_name("clip")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    let description = format!("{} ({})", version(ort::info()), path.display());
    Ok(Loaded { environment, description })
}

/// `ORT Build Info: git-branch=rel-1.23.2, ...` -> `1.23.2`
fn version(build_info: &str) -> String {
    let branch = build_info.split("git-branch=rel-").nth(1).and_then(|rest| rest.split(',').next());
    branch.map_or_else(|| build_info.to_owned(), str::to_owned)
}

fn candidates(library: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = library {
        return vec![path.to_owned()];
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let name =
        format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    // `make onnxruntime` puts it into target/onnxruntime, the program is in target/release
    let near = ["", "onnxruntime", "../onnxruntime", "../lib"];
    let mut found: Vec<_> = beside
        .into_iter()
        .flat_map(|beside| near.iter().map(|folder| beside.join(folder).join(&name)))
        .filter(|path| path.is_file())
        .collect();
    found.push(name.into());
    found
}

/// A graph in ONNX Runtime. A session runs one request at a time, so there may be several, each made when all others
/// are at work.
pub(crate) struct OnnxRuntime {
    recipe: SessionRecipe,
    /// Open ones, and those of them that have nothing to do.
    sessions: Mutex<Sessions>,
    returned: Condvar,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// What it takes to open one more session of a graph.
pub(crate) struct SessionRecipe {
    pub(crate) path: PathBuf,
    /// The folder of the files that the graph's weights are in, if it is not the graph's own.
    pub(crate) weights: Option<PathBuf>,
    /// The library must be found first, see [`onnxruntime_available`].
    pub(crate) library: Option<PathBuf>,
    pub(crate) provider: Provider,
    pub(crate) threads: usize,
    pub(crate) sessions_max: usize,
    /// Called on the thread that opens a further session, before it does.
    pub(crate) before_threads: Option<fn()>,
}

struct Sessions {
    open: usize,
    idle: Vec<Session>,
}

impl SessionRecipe {
    fn open_another(&self) -> Result<Session, String> {
        match self.before_threads {
            None => self.open(),
            Some(before) => on_own_thread(|| {
                before();
                self.open()
            }),
        }
    }

    fn open(&self) -> Result<Session, String> {
        let environment = loaded(self.library.as_deref())?.environment;
        guarded("ONNX Runtime", || {
            let mut builder = builder(self.threads, &environment, self.provider)
                .map_err(|error| error.to_string())?;
            let Some(weights) = &self.weights else {
                return builder.commit_from_file(&self.path).map_err(|error| error.to_string());
            };
            let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
            let builder = builder.with_config_entry(WEIGHTS_FOLDER, weights.to_string_lossy());
            let mut builder = builder.map_err(|error| error.to_string())?;
            builder.commit_from_memory(&bytes).map_err(|error| error.to_string())
        })
    }
}

impl OnnxRuntime {
    pub(crate) fn load(recipe: SessionRecipe) -> Result<Self, String> {
        let session = recipe.open()?;
        let inputs = session.inputs().iter().map(port).collect();
        let outputs = session.outputs().iter().map(port).collect();
        let sessions = Mutex::new(Sessions { open: 1, idle: vec![session] });
        Ok(Self { recipe, sessions, returned: Condvar::new(), inputs, outputs })
    }

    /// A session with nothing to do: an idle one, a new one, or the next that comes back.
    fn borrow(&self) -> Result<Borrowed<'_>, String> {
        let borrowed = |session| Borrowed { runtime: self, session: Some(session) };
        let mut sessions = self.lock();
        loop {
            if let Some(session) = sessions.idle.pop() {
                return Ok(borrowed(session));
            }
            if sessions.open < self.recipe.sessions_max.max(1) {
                sessions.open += 1;
                drop(sessions);
                return self
                    .recipe
                    .open_another()
                    .map(borrowed)
                    .inspect_err(|_| self.lock().open -= 1);
            }
            sessions = self.returned.wait(sessions).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session at work; it is given back when dropped.
struct Borrowed<'a> {
    runtime: &'a OnnxRuntime,
    session: Option<Session>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.lock().idle.push(session);
            self.runtime.returned.notify_one();
        }
    }
}

/// The folder of external weights of a graph that is given as bytes. A graph in a file may only name files beside it.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Whether the library can use a provider, or why not.
pub(super) fn provider_available(provider: Provider, library: Option<&Path>) -> Result<(), String> {
    let environment = loaded(library)?.environment;
    guarded("ONNX Runtime", || {
        builder(1, &environment, provider).map(drop).map_err(|error| error.to_string())
    })
}

fn builder(
    threads: usize,
    environment: &Environment,
    provider: Provider,
) -> ort::Result<SessionBuilder> {
    // `All` adds a level above this one, in which ONNX Runtime 1.32.0 dies (no error, the process) of any graph in half floats.
    // For other graphs it is no faster. Older libraries (1.20) do not know this level; there `All` is the same.
    let builder = match Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)
    {
        Ok(builder) => builder,
        Err(error) => error.recover().with_optimization_level(GraphOptimizationLevel::All)?,
    };
    let builder = builder
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // waiting threads would spin on the cores that decode the next pictures
        .with_intra_op_spinning(false)?
        // Patterns of memory are learnt for each size of a batch, at the price of a second copy of all activations (42 MB for a
        // batch of 8 in ViT-B/32), and no faster where this was measured.
        .with_memory_pattern(false)?
        // Weights outside of the arena, which grows by doubling: a fifth less for a graph in int8.
        .with_device_allocated_initializers()?;
    match provider.dispatch(threads) {
        None => Ok(builder),
        Some(dispatch) => Ok(builder.with_execution_providers([dispatch])?),
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn argmax_takes_last(&self) -> bool {
        false
    }

    fn run(&self, inputs: &[Input<'_>], output: &str) -> Result<Output, String> {
        guarded("ONNX Runtime", || {
            let mut values = Vec::with_capacity(inputs.len());
            for input in inputs {
                let port = self.inputs.iter().find(|port| port.name == input.name);
                let element = port.map_or(Element::Other, |port| port.element);
                values
                    .push((input.name, value(input, element).map_err(|error| error.to_string())?));
            }
            let mut borrowed = self.borrow()?;
            let session = borrowed.session.as_mut().ok_or("no session")?;
            let answers = session.run(values).map_err(|error| error.to_string())?;
            read(answers.get(output).ok_or_else(|| format!("the graph has no {output:?}"))?)
                .map_err(|error| error.to_string())
        })
    }
}

fn value<'a>(input: &Input<'a>, element: Element) -> ort::Result<SessionInputValue<'a>> {
    let shape = input.shape.clone();
    Ok(match (input.data, element) {
        (Data::F32(values), Element::F16) => {
            let halves = values.iter().map(|&value| f16::from_f32(value)).collect::<Vec<_>>();
            Tensor::from_array((shape, halves))?.into()
        }
        (Data::F32(values), _) => TensorRef::from_array_view((shape, values))?.into(),
        (Data::U8(values), _) => TensorRef::from_array_view((shape, values))?.into(),
        (Data::Ids(ids), Element::I32) => {
            let ids = ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
            Tensor::from_array((shape, ids))?.into()
        }
        (Data::Ids(ids), _) => TensorRef::from_array_view((shape, ids))?.into(),
    })
}

fn read(value: &DynValue) -> ort::Result<Output> {
    if let Ok((shape, halves)) = value.try_extract_tensor::<f16>() {
        let values = halves.iter().map(|half| half.to_f32()).collect();
        return Ok(Output { shape: shape.iter().map(|&size| size as usize).collect(), values });
    }
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok(Output { shape: shape.iter().map(|&size| size as usize).collect(), values: values.to_vec() })
}

fn port(outlet: &Outlet) -> Port {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            (element(*ty), shape.iter().map(|&size| usize::try_from(size).ok()).collect())
        }
        _ => (Element::Other, Vec::new()),
    };
    Port { name: outlet.name().into(), element, shape }
}

fn element(ty: TensorElementType) -> Element {
    match ty {
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Float16 => Element::F16,
        TensorElementType::Uint8 => Element::U8,
        TensorElementType::Int32 => Element::I32,
        TensorElementType::Int64 => Element::I64,
        _ => Element::Other,
    }
}
