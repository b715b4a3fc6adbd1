"""The smallest proof of life: if one of these fails, begin here."""

import numpy as np

import gpukern as gk

W = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
X = np.array([1, 2, 3], np.float32)


def test_a_number_goes_there_and_back(device):
    assert gk.asarray([1.5], device=device).tolist() == [1.5]


def test_numpy_in_numpy_out(device):
    y = gk.matmul_vec(W, X, device=device)
    assert type(y) is np.ndarray
    assert y.tolist() == [14, 32]


def test_tensor_in_tensor_out(device):
    y = gk.matmul_vec(gk.asarray(W, device=device), gk.asarray(X, device=device))
    assert type(y) is gk.Tensor
    assert y.device == device
    assert y.tolist() == [14, 32]


def test_a_chain_of_operations(device):
    x = gk.asarray(X, device=device)
    assert (2 * x + x * x - 1).tolist() == [2, 7, 14]


def test_numpy_alone_needs_no_device():
    assert gk.add(X, X).tolist() == [2, 4, 6]
