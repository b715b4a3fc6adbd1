//! From our IR to machine code, by Cranelift.
//!
//! The code runs workgroups one after another. In each it runs groups of invocations, as many as there are lanes. What
//! is the same for all lanes is computed once, by scalar instructions; conditions that are the same are branches. Where
//! the lanes' ways part, both ways are gone with a mask of the lanes that take part (`control`).

mod arithmetic;
mod control;
mod conversion;
mod lanes;
mod memory;
mod subgroup;

use std::sync::OnceLock;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use rustc_hash::FxHashMap;

use self::control::{COPYABLE, Cells, Frame, Target};
use self::lanes::{Lanes, Vectors, memory};
use super::ir::{Body, Kind, Memory, Place, Statement, Value, Variable};
use super::liveness::Liveness;
use super::range::Ranges;
use super::region::Regions;
use super::run;
use super::shape::Shapes;
use crate::cpu::simd::Level;

/// Machine code that stands anywhere.
pub(super) struct Emitted {
    pub(super) code: Vec<u8>,
    /// Bytes that a thread needs while it runs a workgroup.
    pub(super) scratch: usize,
    /// See `Code::cost`.
    pub(super) cost: Option<u64>,
    /// How many bytes each binding has to have for the code, which reads element zero in place of those that are not
    /// there.
    pub(super) least: Vec<usize>,
}

/// More memory than this for one workgroup is a mistake.
const MOST_SCRATCH: u64 = 256 << 20;
/// From so many instructions on, the register allocator that makes good code would take seconds, and where many values
/// are alive at once, minutes.
const LARGE: usize = 25_000;
/// Threads of users may have small stacks.
const MOST_STACK: u32 = 128 << 10;

/// What keeps a body from becoming code.
pub(super) enum Failure {
    /// With fewer lanes it may do.
    TooLarge(String),
    Other(String),
}

/// The machine as a level of SIMD sees it.
struct Machine {
    level: Level,
    isa: OwnedTargetIsa,
    has_fma: bool,
    /// Where a function is that calls `run::poll`, puts the answer into the context, and leaves every register as it
    /// was.
    poll: usize,
}

impl Machine {
    /// That of a level, made once.
    fn of(level: Level) -> Result<&'static Self, String> {
        static KNOWN: [OnceLock<Machine>; Level::ALL.len()] = [const { OnceLock::new() }; Level::ALL.len()];
        let known = &KNOWN[Level::ALL.iter().position(|other| *other == level).unwrap_or(0)];
        if let Some(found) = known.get() {
            return Ok(found);
        }
        check_machine()?;
        let isa = target(level, "backtracking")?;
        let made = Self { level, has_fma: has_fma(level), poll: asking(&*isa)?, isa };
        // Two threads may both make one, rather than that one waits, whom a forked process may not have.
        Ok(known.get_or_init(|| made))
    }
}

/// What Cranelift makes code for, by one of its register allocators.
fn target(level: Level, allocator: &str) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let choices = [
        ("opt_level", "speed"),
        ("regalloc_algorithm", allocator),
        ("is_pic", "false"),
        ("enable_probestack", "false"),
        ("enable_verifier", if cfg!(any(test, debug_assertions)) { "true" } else { "false" }),
    ];
    for (name, value) in choices {
        flags.set(name, value).map_err(|error| error.to_string())?;
    }
    let mut machine = cranelift_native::builder()?;
    if cfg!(target_arch = "x86_64") && level == Level::Scalar {
        for feature in ["has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"] {
            machine.set(feature, "false").map_err(|error| error.to_string())?;
        }
    }
    machine.finish(settings::Flags::new(flags)).map_err(|error| error.to_string())
}

/// Whether vectors can be used as the code here does.
#[cfg(target_arch = "x86_64")]
fn check_machine() -> Result<(), String> {
    if std::is_x86_feature_detected!("sse4.1") && std::is_x86_feature_detected!("ssse3") {
        Ok(())
    } else {
        Err("this processor has no SSE 4.1".into())
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::unnecessary_wraps, reason = "on another architecture it can fail")]
fn check_machine() -> Result<(), String> {
    Ok(())
}

pub(super) fn emit(body: &Body, lanes: usize, level: Level) -> Result<Emitted, Failure> {
    let machine = Machine::of(level).map_err(Failure::Other)?;
    let isa = &*machine.isa;
    let mut liveness = Liveness::new(body);
    let shapes = Shapes::new(body, &liveness, lanes);
    let groups = body.invocations().div_ceil(lanes as u32);
    let regions = Regions::new(body, &mut liveness, &shapes, groups == 1);

    let mut context = Context::new();
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = [I64, I32, I32, I32, I32].map(AbiParam::new).to_vec();
    signature.returns = vec![AbiParam::new(I32)];
    context.func.signature = signature;
    let mut builder = FunctionBuilderContext::new();
    let ranges = Ranges::new(body, &shapes, lanes);
    let mut emitter =
        Emitter::new(FunctionBuilder::new(&mut context.func, &mut builder), machine, body, &shapes, &ranges, lanes);
    emitter.function(&regions);
    let (scratch, least) = (emitter.scratch_size, std::mem::take(&mut emitter.least));
    let Emitter { mut b, .. } = emitter;
    b.seal_all_blocks();
    b.finalize(isa.frontend_config());
    if scratch > MOST_SCRATCH {
        return Err(Failure::TooLarge(format!("{} MiB of variables in a workgroup", scratch >> 20)));
    }
    let code = if context.func.dfg.num_insts() <= LARGE {
        machine_code(&mut context, isa)?
    } else if lanes > 1 && !body.subgroups {
        return Err(Failure::TooLarge(format!("more than {LARGE} instructions")));
    } else {
        let quick = target(machine.level, "single_pass").map_err(Failure::Other)?;
        let mut again = Context::for_function(context.func.clone());
        match machine_code(&mut context, &*quick) {
            // It gives every value that is not in a register a place of its own.
            Err(Failure::TooLarge(_)) if again.func.dfg.num_insts() <= 8 * LARGE => machine_code(&mut again, isa)?,
            code => code?,
        }
    };
    Ok(Emitted { code, scratch: (scratch as usize).next_multiple_of(64), cost: cost(body, groups), least })
}

/// What Cranelift makes of a function, if that can be called.
fn machine_code(context: &mut Context, isa: &dyn TargetIsa) -> Result<Vec<u8>, Failure> {
    let compiled = context.compile(isa, &mut ControlPlane::default()).map_err(|error| match error.inner {
        CodegenError::CodeTooLarge => Failure::TooLarge("so much code in one entry point".into()),
        error => Failure::Other(format!("this kernel (the code generator says: {error})")),
    })?;
    let stack = compiled.buffer.frame_layout().map_or(0, |layout| layout.frame_to_fp_offset);
    if stack > MOST_STACK {
        return Err(Failure::TooLarge("so many values at once in one invocation".into()));
    }
    if !compiled.buffer.relocs().is_empty() {
        return Err(Failure::Other("this kernel (its code calls what is not there)".into()));
    }
    Ok(compiled.code_buffer().to_vec())
}

/// Makes [`Machine::poll`].
fn asking(isa: &dyn TargetIsa) -> Result<usize, String> {
    let mut context = Context::new();
    context.func.signature = Signature::new(CallConv::PreserveAll);
    context.func.signature.params = vec![AbiParam::new(I64)];
    let mut builder = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut builder);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let argument = b.block_params(entry)[0];
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(I64)];
    signature.returns = vec![AbiParam::new(I32)];
    let signature = b.import_signature(signature);
    let poll = b.ins().iconst(I64, run::poll as *const () as i64);
    let call = b.ins().call_indirect(signature, poll, &[argument]);
    let answer = b.inst_results(call)[0];
    b.ins().store(memory(), answer, argument, std::mem::offset_of!(run::Context, answer) as i32);
    b.ins().return_(&[]);
    b.finalize(isa.frontend_config());
    let compiled = context.compile(isa, &mut ControlPlane::default()).map_err(|error| error.inner.to_string())?;
    // It stays for as long as any kernel may.
    let executable = Box::leak(Box::new(run::Executable::new(compiled.code_buffer())?));
    Ok(executable.entry() as *const () as usize)
}

fn has_fma(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = level != Level::Scalar && std::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let has = {
        let _ = level;
        true
    };
    has
}

/// See `Code::cost`: some ten instructions a statement.
fn cost(body: &Body, groups: u32) -> Option<u64> {
    let mut count = 0;
    let mut has_loop = false;
    for statement in &body.statements {
        statement.any(&mut |inner| {
            has_loop |= matches!(inner, Statement::Loop { .. });
            count += 10;
            false
        });
    }
    (!has_loop).then_some(count * u64::from(groups) + u64::from(body.workgroup_memory) / 32)
}

/// A function under construction.
struct Emitter<'a> {
    b: FunctionBuilder<'a>,
    machine: &'static Machine,
    body: &'a Body,
    shapes: &'a Shapes,
    ranges: &'a Ranges,
    /// How many invocations run at once.
    lanes: usize,
    /// How many times that many there are in a workgroup.
    groups: u32,
    /// The `run::Context`.
    context: ir::Value,
    workgroup: [ir::Value; 3],
    /// The number of the group that runs.
    group: ir::Value,
    /// Where the function returns with a number.
    stop: ir::Block,
    /// The values that are known where code is added.
    values: Vec<Option<Lanes>>,
    /// Those among them that are known to one region only.
    regional: Vec<Value>,
    variables: Vec<Cells>,
    /// The lanes that take part; none where all do.
    mask: Option<Vectors>,
    /// Where to go on when none takes part any more.
    escape: ir::Block,
    frames: Vec<Frame>,
    /// Whether code is added that hardly ever runs.
    is_rare: bool,
    /// How many statements may still be added twice.
    copyable: usize,
    targets: Vec<Target>,
    /// Whether code between barriers is added, rather than that of a kernel that has none.
    is_cut: bool,
    /// Where the masks of all groups lie, while some invocations may be inactive between regions.
    mask_slot: Option<u32>,
    value_slots: FxHashMap<Value, u32>,
    variable_slots: FxHashMap<Variable, u32>,
    scratch_size: u64,
    /// Where private memory lies.
    private: u32,
    /// Where stores go that do nothing.
    discard: u32,
    least: Vec<usize>,
    /// Room for the vectors of two operands.
    operands: ir::StackSlot,
}

impl<'a> Emitter<'a> {
    fn new(
        mut b: FunctionBuilder<'a>,
        machine: &'static Machine,
        body: &'a Body,
        shapes: &'a Shapes,
        ranges: &'a Ranges,
        lanes: usize,
    ) -> Self {
        let operands =
            b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16 * lanes.max(4) as u32, 4));
        let (value, block) = (ir::Value::from_u32(0), ir::Block::from_u32(0));
        Self {
            b,
            machine,
            body,
            shapes,
            ranges,
            lanes,
            groups: body.invocations().div_ceil(lanes as u32),
            context: value,
            workgroup: [value; 3],
            group: value,
            stop: block,
            values: vec![None; body.values.len()],
            regional: Vec::new(),
            variables: Vec::new(),
            mask: None,
            escape: block,
            frames: Vec::new(),
            is_rare: false,
            copyable: COPYABLE,
            targets: vec![Target::None; body.labels as usize],
            is_cut: false,
            mask_slot: None,
            value_slots: FxHashMap::default(),
            variable_slots: FxHashMap::default(),
            scratch_size: 0,
            private: 0,
            discard: 0,
            least: Vec::new(),
            operands,
        }
    }

    /// The whole function: a loop over workgroups.
    fn function(&mut self, regions: &Regions<'a>) {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        let parameters = self.b.block_params(entry).to_vec();
        self.context = parameters[0];
        self.stop = self.b.create_block();
        self.b.append_block_param(self.stop, I32);
        self.b.set_cold_block(self.stop);
        self.make_room(regions);
        self.declare_variables();

        let next = self.b.create_block();
        let x = self.b.append_block_param(next, I32);
        let left = self.b.append_block_param(next, I32);
        self.b.ins().jump(next, &[parameters[1].into(), parameters[4].into()]);
        self.b.switch_to_block(next);
        self.workgroup = [x, parameters[2], parameters[3]];
        if self.body.workgroup_memory > 0 {
            self.clear_workgroup_memory();
        }
        self.steps(&regions.steps, regions);

        let end = self.b.create_block();
        let x = self.b.ins().iadd_imm_s(x, 1);
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.b.ins().brif(left, next, &[x.into(), left.into()], end, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(end);
        let zero = self.b.ins().iconst(I32, 0);
        self.b.ins().return_(&[zero]);
        self.b.switch_to_block(self.stop);
        let why = self.b.block_params(self.stop)[0];
        self.b.ins().return_(&[why]);
    }

    /// Places in scratch memory.
    fn make_room(&mut self, regions: &Regions<'_>) {
        self.discard = self.room(DISCARD.into());
        self.is_cut = regions.is_cut;
        let lanes = self.lanes as u64;
        let copies = if self.is_cut { u64::from(self.groups) } else { 1 };
        if regions.is_masked {
            self.mask_slot = Some(self.room(self.bytes_of_masks()));
        }
        for &value in &regions.values {
            let bytes = self.bytes_in_slot(self.body.kind(value), self.shapes.of(self.body, value));
            let slot = self.room(copies * u64::from(bytes));
            self.value_slots.insert(value, slot);
        }
        for &variable in &regions.variables {
            let kind = self.body.variables[variable.index()];
            let bytes = self.bytes_in_slot(kind, self.shapes.variable(variable));
            let slot = self.room(copies * u64::from(bytes));
            self.variable_slots.insert(variable, slot);
        }
        self.private = self.room(copies * lanes * u64::from(self.body.private_memory));
    }

    /// Bytes of scratch memory, aligned to vectors.
    fn room(&mut self, bytes: u64) -> u32 {
        let start = self.scratch_size;
        self.scratch_size += bytes.next_multiple_of(16);
        // What is too large is refused before it runs.
        u32::try_from(start).unwrap_or(0)
    }

    /// A field of the context that does not change while the code runs.
    fn field(&mut self, ty: ir::Type, offset: usize) -> ir::Value {
        let flags = self.unchanging();
        self.b.ins().load(ty, flags, self.context, offset as i32)
    }

    /// For loads of what does not change. Those of rare code stay in it: else they, and all that is computed from them,
    /// would go before the loops around, and take the registers there.
    fn unchanging(&self) -> MemFlagsData {
        if self.is_rare { memory() } else { MemFlagsData::trusted().with_readonly().with_can_move() }
    }

    /// Adds a block of code that hardly ever runs.
    fn rarely<T>(&mut self, block: ir::Block, f: impl FnOnce(&mut Self) -> T) -> T {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
        self.b.set_cold_block(block);
        let was_rare = std::mem::replace(&mut self.is_rare, true);
        let result = f(self);
        self.is_rare = was_rare;
        result
    }

    fn scratch(&mut self) -> ir::Value {
        self.field(I64, std::mem::offset_of!(run::Context, scratch))
    }

    /// Calls a function of ours that takes these arguments.
    fn call(&mut self, address: usize, arguments: &[ir::Value], returns: &[ir::Type]) -> Option<ir::Value> {
        let mut signature = Signature::new(self.machine.isa.default_call_conv());
        signature.params = arguments.iter().map(|argument| AbiParam::new(self.type_of(*argument))).collect();
        signature.returns = returns.iter().map(|ty| AbiParam::new(*ty)).collect();
        let signature = self.b.import_signature(signature);
        let address = self.b.ins().iconst(I64, address as i64);
        let call = self.b.ins().call_indirect(signature, address, arguments);
        self.b.inst_results(call).first().copied()
    }

    fn clear_workgroup_memory(&mut self) {
        let start = self.field(I64, std::mem::offset_of!(run::Context, workgroup));
        let bytes = self.b.ins().iconst(I64, i64::from(self.body.workgroup_memory));
        self.call(clear as *const () as usize, &[start, bytes], &[]);
    }

    /// One round of a loop: stops when it has run for too long.
    fn burn_fuel(&mut self) {
        let offset = std::mem::offset_of!(run::Context, fuel) as i32;
        let fuel = self.b.ins().load(I32, memory(), self.context, offset);
        let fuel = self.b.ins().iadd_imm_s(fuel, -1);
        self.b.ins().store(memory(), fuel, self.context, offset);
        let (ask, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(ask);
        let is_out = self.b.ins().icmp_imm_s(ir::condcodes::IntCC::SignedLessThan, fuel, 0);
        self.b.ins().brif(is_out, ask, &[], go_on, &[]);
        self.b.switch_to_block(ask);
        self.b.seal_block(ask);
        // Registers keep their values through this call, so that loops can have theirs there.
        let mut signature = Signature::new(CallConv::PreserveAll);
        signature.params = vec![AbiParam::new(I64)];
        let signature = self.b.import_signature(signature);
        let asking = self.b.ins().iconst(I64, self.machine.poll as i64);
        self.b.ins().call_indirect(signature, asking, &[self.context]);
        let answer = std::mem::offset_of!(run::Context, answer) as i32;
        let answer = self.b.ins().load(I32, memory(), self.context, answer);
        self.b.ins().brif(answer, self.stop, &[answer.into()], go_on, &[]);
        self.b.switch_to_block(go_on);
        self.b.seal_block(go_on);
    }

    /// Notes that the code reads the first element of a place whatever its index is.
    fn note_least(&mut self, place: &Place, bytes: u32) {
        if let Memory::Buffer { index, .. } = place.memory {
            let index = index as usize;
            if self.least.len() <= index {
                self.least.resize(index + 1, 0);
            }
            let least = &mut self.least[index];
            *least = (*least).max(place.offset as usize + bytes as usize);
        }
    }

    fn kind(&self, value: Value) -> Kind {
        self.body.kind(value)
    }

    fn constant_i8(&mut self, value: bool) -> ir::Value {
        self.b.ins().iconst(I8, i64::from(value))
    }
}

/// Bytes that a store may go to that does nothing.
const DISCARD: u32 = 4096;

/// Makes workgroup memory zero.
#[expect(unsafe_code, reason = "called by compiled code")]
unsafe extern "C" fn clear(start: *mut u8, bytes: usize) {
    // SAFETY: the code passes the memory that its context has for it.
    unsafe { start.write_bytes(0, bytes) };
}
