//! The engine on whatever GPUs this machine has. `GPUKERN_REQUIRE_GPU=1` makes their absence a failure.

use std::sync::Arc;

use super::context::Context;
use super::pipeline::{ParamLayout, Spec};
use crate::device::{Device, machine};
use crate::dtype::{DType, Scalar};
use crate::error::Error;
use crate::ops::{self, elementwise};
use crate::tensor::Tensor;

/// Every GPU of this machine, software included.
fn gpus() -> Vec<Device> {
    let devices = machine().unwrap().devices().unwrap();
    let gpus: Vec<Device> = devices.into_iter().filter(|device| matches!(device, Device::Gpu(_))).collect();
    let required = std::env::var("GPUKERN_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(!gpus.is_empty() || !required, "GPUKERN_REQUIRE_GPU=1, but this machine has no GPU");
    gpus
}

fn context(device: &Device) -> Arc<Context> {
    let Device::Gpu(gpu) = device else { unreachable!("only GPUs here") };
    gpu.context().unwrap()
}

fn host_values(tensor: &Tensor) -> Vec<f32> {
    let host = tensor.to_host(crate::device::select::cpu().unwrap()).unwrap();
    let host = ops::contiguous(&host).unwrap();
    let (origin, mut values) = (host.view().start(), vec![0.0_f32; host.len()]);
    assert_eq!(host.dtype(), DType::Float32);
    #[expect(unsafe_code, reason = "reads the elements of a host tensor")]
    // SAFETY: a row-major tensor of `len` float32 elements.
    unsafe {
        std::ptr::copy_nonoverlapping(origin, values.as_mut_ptr().cast(), host.len() * 4);
    }
    values
}

#[test]
fn numbers_go_up_and_come_back() {
    for device in gpus() {
        // Longer than a staging chunk, and no multiple of anything.
        let count = (9 << 20) / 4 + 3;
        let up = ops::arange(&device, Scalar::Int(0), Scalar::Int(count), Scalar::Int(1), DType::Float32).unwrap();
        let sum = elementwise::add((&up).into(), Scalar::Float(1.0).into(), None).unwrap();
        let values = host_values(&sum);
        assert!(values.iter().enumerate().all(|(i, &value)| value == i as f32 + 1.0), "{device:?}");
    }
}

#[test]
fn freed_buffers_are_used_again() {
    for device in gpus() {
        let lowered = device.with_caps("workgroup=128").unwrap();
        let context = context(&lowered);
        for _ in 0..10 {
            let tensor = ops::full("full", &lowered, &[12_345], Scalar::Float(2.0), DType::Float32).unwrap();
            assert_eq!(
                host_values(&elementwise::multiply((&tensor).into(), (&tensor).into(), None).unwrap())[12_344],
                4.0
            );
        }
        let usage = context.usage();
        assert_eq!(usage.misses, 2, "{device:?}: two tensors are alive at a time");
        assert_eq!((usage.hits, usage.in_use), (18, 0));
        context.release_memory().unwrap();
        assert_eq!(context.usage().pooled, 0);
    }
}

#[test]
fn a_kernel_that_does_not_compile_is_shown_with_its_line() {
    for device in gpus() {
        let spec = || Spec {
            label: "broken".into(),
            source: "@compute @workgroup_size(1)\nfn main() {\n    let x: f32 = true;\n}\n",
            slots: vec![],
            constants: vec![],
            inputs: vec![],
            params: ParamLayout { size: 4, fields: &[] },
        };
        let Err(Error::Kernel(message)) = context(&device).pipeline(u64::MAX - 1, spec) else {
            panic!("{device:?} took a broken kernel");
        };
        for part in ["broken", "let x: f32 = true;", "^"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        context(&device).check().unwrap();
    }
}

#[test]
fn a_lost_device_says_so_and_a_fresh_one_works() {
    for device in gpus() {
        let lowered = device.with_caps("workgroup=32").unwrap();
        let old = ops::full("full", &lowered, &[3], Scalar::Int(1), DType::Float32).unwrap();
        context(&lowered).lose();
        let lost = elementwise::add((&old).into(), (&old).into(), None);
        assert!(matches!(lost, Err(Error::DeviceLost(_))), "{device:?}");
        let new = ops::full("full", &lowered, &[3], Scalar::Int(1), DType::Float32).unwrap();
        assert!(matches!(elementwise::add((&old).into(), (&new).into(), None), Err(Error::DeviceLost(_))));
        assert_eq!(host_values(&new), [1.0; 3]);
    }
}
