pub(crate) unsafe fn matmul_vec(_d: crate::cpu::CpuDevice, _w: crate::cpu::View<'_>, _x: crate::cpu::View<'_>, _o: crate::cpu::ViewMut<'_>) {}
