"""The public interface in one table: every function, class and method, its parameters in their
order, and its defaults. A changed default, a renamed parameter and a public name that is missing
here fail. What is passed by keyword, or is 0 or False, arrives.
"""

import inspect
import itertools
import sys

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, export, functional, nn, optim, parallel, testing, training
from minidl.autograd import TABLE
from minidl.nn import init
from minidl.optim import schedules
from minidl.protocols import COMPOSED
from minidl.table import name_of

F = functional

PLACES = {
    "minidl": minidl,
    "functional": functional,
    "nn": nn,
    "nn.init": init,
    "optim": optim,
    "optim.schedules": schedules,
    "data": data,
    "gradcheck": sys.modules["minidl.gradcheck"],
    "testing": testing,
    "training": training,
    "parallel": parallel,
    "export": export,
}

INTERFACE = {
    # minidl
    "minidl.Tensor": "data, requires_grad=False, dtype=None",
    "minidl.Tensor.all": "axis=None",
    "minidl.Tensor.any": "axis=None",
    "minidl.Tensor.argmax": "axis=None",
    "minidl.Tensor.argmin": "axis=None",
    "minidl.Tensor.astype": "dtype",
    "minidl.Tensor.backward": "gradient=None, retain_graph=False",
    "minidl.Tensor.clip": "min=None, max=None",
    "minidl.Tensor.copy": "",
    "minidl.Tensor.cumprod": "axis=None",
    "minidl.Tensor.cumsum": "axis=None",
    "minidl.Tensor.detach": "",
    "minidl.Tensor.diagonal": "offset=0, axis1=0, axis2=1",
    "minidl.Tensor.dot": "other",
    "minidl.Tensor.flatten": "",
    "minidl.Tensor.item": "",
    "minidl.Tensor.max": "axis=None, keepdims=False, *, initial=None, where=True",
    "minidl.Tensor.mean": "axis=None, keepdims=False, *, where=True",
    "minidl.Tensor.min": "axis=None, keepdims=False, *, initial=None, where=True",
    "minidl.Tensor.numpy": "",
    "minidl.Tensor.prod": "axis=None, keepdims=False, *, initial=1, where=True",
    "minidl.Tensor.ravel": "",
    "minidl.Tensor.retain_grad": "",
    "minidl.Tensor.repeat": "repeats, axis=None",
    "minidl.Tensor.reshape": "*shape",
    "minidl.Tensor.squeeze": "axis=None",
    "minidl.Tensor.std": "axis=None, ddof=0, keepdims=False",
    "minidl.Tensor.sum": "axis=None, keepdims=False, *, initial=None, where=True",
    "minidl.Tensor.swapaxes": "axis1, axis2",
    "minidl.Tensor.take": "indices, axis=None",
    "minidl.Tensor.tolist": "",
    "minidl.Tensor.trace": "offset=0, axis1=0, axis2=1",
    "minidl.Tensor.transpose": "*axes",
    "minidl.Tensor.var": "axis=None, ddof=0, keepdims=False",
    "minidl.compile": "model, loss, optimizer, *, max_norm=None",
    "minidl.debug": "",
    "minidl.differentiable": "function",
    "minidl.draw": "tensor, path=None, **names",
    "minidl.evaluate": "model, loss, data, metrics=None",
    "minidl.fit": (
        "model, loss, optimizer, train, validation=None, *, epochs=10, metrics=None, "
        "callbacks=(), progress=True, checkpoint=None, on_interrupt='raise', compiled=False, "
        "batch_size=None, clip_norm=None, accumulate=1"
    ),
    "minidl.grad": (
        "y, xs, gradient=None, *, create_graph=False, retain_graph=None, allow_unused=False"
    ),
    "minidl.gradcheck": (
        "f, *inputs, order=1, tolerance=1e-06, max_unjudged=0.5, also_in=(float32,), rng=0, "
        "names=None, raise_on_failure=True"
    ),
    "minidl.hessian": "f, x",
    "minidl.hessian_vector_product": "f, x, v",
    "minidl.load": "path",
    "minidl.no_grad": "function=None",
    "minidl.predict": "model, x, batch_size=1024",
    "minidl.save": "path, state",
    "minidl.seed": "n",
    "minidl.vjp": "function, spec, *, forward=None, definition=None, common=None, **rules",
    # functional
    "functional.batch_norm": (
        "x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, "
        "eps=1e-05"
    ),
    "functional.binary_cross_entropy_with_logits": (
        "input, target, pos_weight=None, reduction='mean'"
    ),
    "functional.cross_entropy": (
        "input, target, weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0"
    ),
    "functional.dropout": "x, p=0.5, training=True, rng=None",
    "functional.embedding": "input, weight",
    "functional.gelu": "x, approximate='none'",
    "functional.huber_loss": "input, target, reduction='mean', delta=1.0",
    "functional.l1_loss": "input, target, reduction='mean'",
    "functional.layer_norm": "x, normalized_shape, weight=None, bias=None, eps=1e-05",
    "functional.scaled_dot_product_attention": "q, k, v, mask=None, causal=False",
    "functional.leaky_relu": "x, negative_slope=0.01",
    "functional.linear": "x, weight, bias=None",
    "functional.log_softmax": "x, axis=-1",
    "functional.logsumexp": "x, axis=-1, keepdims=False",
    "functional.mse_loss": "input, target, reduction='mean'",
    "functional.relu": "x",
    "functional.sigmoid": "x",
    "functional.softmax": "x, axis=-1",
    "functional.softplus": "x, beta=1.0",
    "functional.tanh": "x",
    # nn
    "nn.GELU": "approximate='none'",
    "nn.GELU.extra_repr": "",
    "nn.GELU.forward": "x",
    "nn.BCEWithLogitsLoss": "pos_weight=None, reduction='mean'",
    "nn.BCEWithLogitsLoss.check_targets": "shape, target",
    "nn.BCEWithLogitsLoss.divisor": "input, target",
    "nn.BCEWithLogitsLoss.forward": "input, target",
    "nn.BatchNorm": "num_features, eps=1e-05, momentum=0.1, affine=True, dtype=float32",
    "nn.BatchNorm.extra_repr": "",
    "nn.BatchNorm.forward": "x",
    "nn.CrossEntropyLoss": "weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0",
    "nn.CrossEntropyLoss.check_targets": "shape, target",
    "nn.CrossEntropyLoss.divisor": "input, target",
    "nn.CrossEntropyLoss.forward": "input, target",
    "nn.Dropout": "p=0.5, rng=None",
    "nn.Dropout.extra_repr": "",
    "nn.Dropout.forward": "x",
    "nn.Flatten": "",
    "nn.Flatten.forward": "x",
    "nn.HuberLoss": "reduction='mean', delta=1.0",
    "nn.HuberLoss.divisor": "input, target",
    "nn.HuberLoss.forward": "input, target",
    "nn.L1Loss": "reduction='mean'",
    "nn.L1Loss.divisor": "input, target",
    "nn.L1Loss.forward": "input, target",
    "nn.LeakyReLU": "negative_slope=0.01",
    "nn.LeakyReLU.extra_repr": "",
    "nn.LeakyReLU.forward": "x",
    "nn.Linear": "in_features, out_features, bias=True, init='he_normal', rng=None, dtype=float32",
    "nn.Linear.extra_repr": "",
    "nn.Linear.forward": "x",
    "nn.MSELoss": "reduction='mean'",
    "nn.MSELoss.divisor": "input, target",
    "nn.MSELoss.forward": "input, target",
    "nn.Module": "",
    "nn.Module.children": "",
    "nn.Module.eval": "",
    "nn.Module.extra_repr": "",
    "nn.Module.forward": "*args, **kwargs",
    "nn.Module.load_state_dict": "state",
    "nn.Module.modules": "",
    "nn.Module.named_parameters": "",
    "nn.Module.parameters": "",
    "nn.Module.state_dict": "",
    "nn.Module.summary": "x=None",
    "nn.Module.train": "mode=True",
    "nn.Module.zero_grad": "",
    "nn.Parameter": "data, requires_grad=True, dtype=None",
    "nn.ReLU": "",
    "nn.ReLU.forward": "x",
    "nn.Sequential": "*modules",
    "nn.Sequential.forward": "x",
    "nn.Sigmoid": "",
    "nn.Sigmoid.forward": "x",
    "nn.Tanh": "",
    "nn.Tanh.forward": "x",
    "nn.Embedding": "num_embeddings, embedding_dim, std=1.0, rng=None, dtype=float32",
    "nn.Embedding.extra_repr": "",
    "nn.Embedding.forward": "input",
    "nn.LayerNorm": (
        "normalized_shape, eps=1e-05, elementwise_affine=True, bias=True, dtype=float32"
    ),
    "nn.LayerNorm.extra_repr": "",
    "nn.LayerNorm.forward": "x",
    "nn.ModuleDict": "modules=None",
    "nn.ModuleDict.items": "",
    "nn.ModuleDict.keys": "",
    "nn.ModuleDict.values": "",
    "nn.ModuleList": "modules=()",
    "nn.ModuleList.append": "module",
    "nn.Softmax": "axis=-1",
    "nn.Softmax.extra_repr": "",
    "nn.Softmax.forward": "x",
    # nn.init
    "nn.init.he_normal": "shape, rng=None, dtype=float32",
    "nn.init.he_uniform": "shape, rng=None, dtype=float32",
    "nn.init.glorot_normal": "shape, rng=None, dtype=float32",
    "nn.init.glorot_uniform": "shape, rng=None, dtype=float32",
    "nn.init.initial": "owner, init, shape, rng, dtype",
    "nn.init.normal": "shape, std=0.01, rng=None, dtype=float32",
    "nn.init.uniform": "shape, bound=0.01, rng=None, dtype=float32",
    "nn.init.zeros": "shape, rng=None, dtype=float32",
    "nn.init.ones": "shape, rng=None, dtype=float32",
    "nn.init.by_name": "name",
    # nn: a model as plain data
    "nn.build": "description, *, classes=(), most=100000000",
    "nn.describe": "model",
    # optim
    "optim.SGD": "params, lr, weight_decay=0.0",
    "optim.SGD.update": "x, dx, *, lr",
    "optim.Adagrad": "params, lr=0.01, eps=1e-10, weight_decay=0.0",
    "optim.Adagrad.update": "x, dx, cache, *, lr, eps",
    "optim.Adam": (
        "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, bias_correction=True"
    ),
    "optim.Adam.update": "x, dx, m, v, *, t, lr, betas, eps, bias_correction",
    "optim.AdamW": (
        "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, bias_correction=True"
    ),
    "optim.AdamW.update": "x, dx, m, v, *, t, lr, betas, eps, weight_decay, bias_correction",
    "optim.Momentum": "params, lr, mu=0.9, weight_decay=0.0, nesterov=False",
    "optim.Momentum.update": "x, dx, v, *, lr, mu, nesterov=False",
    "optim.Optimizer": "params, lr, weight_decay=0.0, **hyper",
    "optim.Optimizer.apply": "group, blocks, t, lr",
    "optim.Optimizer.bring_home": "",
    "optim.Optimizer.checked": "name, value",
    "optim.Optimizer.count_step": "n=1",
    "optim.Optimizer.explain": "name",
    "optim.Optimizer.load_state_dict": "state",
    "optim.Optimizer.state_dict": "",
    "optim.Optimizer.step": "",
    "optim.Optimizer.current_rate": "group",
    "optim.Optimizer.update": "x, dx, *state, **hyper",
    "optim.Optimizer.zero_grad": "",
    "optim.RMSProp": "params, lr=0.01, decay_rate=0.99, eps=1e-08, weight_decay=0.0",
    "optim.RMSProp.update": "x, dx, cache, *, lr, decay_rate, eps",
    "optim.clip_grad_norm": "params, max_norm",
    # optim.schedules
    "optim.schedules.step_decay": "lr, every, factor=0.1",
    "optim.schedules.exponential_decay": "lr, rate",
    "optim.schedules.cosine": "lr, steps=None, final=0.0",
    "optim.schedules.linear": "lr, steps=None, final=0.0",
    "optim.schedules.one_cycle": (
        "lr, steps=None, pct_start=0.3, div_factor=25.0, final_div_factor=10000.0"
    ),
    "optim.schedules.warmup.over": "steps",
    "data.MultiInputLoader": "inputs, *arrays, **options",
    "data.MultiInputLoader.together": "arrays",
    "optim.schedules.warmup": "lr, steps",
    # data
    "data.DataLoader": (
        "*arrays, batch_size=32, shuffle=False, drop_last=False, rng=None, dtype=float32, "
        "check_finite=True"
    ),
    "data.DataLoader.load_state_dict": "state",
    "data.DataLoader.state_dict": "",
    "data.Standardize": "",
    "data.Standardize.fit": "x",
    "data.Standardize.fit_transform": "x",
    "data.Standardize.inverse": "z",
    "data.Standardize.load_state_dict": "state",
    "data.Standardize.state_dict": "",
    "data.Standardize.transform": "x",
    "data.Table": "x, y, feature_names, class_names",
    "data.TableEncoder": (
        "target=None, task='auto', missing='error', ignore=(), categories=(), most_categories=100"
    ),
    "data.TableEncoder.decode": "outputs",
    "data.TableEncoder.fit": "columns",
    "data.TableEncoder.from_state": "state",
    "data.TableEncoder.load_state_dict": "state",
    "data.TableEncoder.state_dict": "",
    "data.TableEncoder.summary": "",
    "data.TableEncoder.targets": "columns",
    "data.TableEncoder.transform": "columns",
    "data.read_table": (
        "path, delimiter=None, decimal='.', thousands=None, encoding=None, header=True, *, "
        "dates=None, categories=(), missing_words=None"
    ),
    "data.load_csv": (
        "path, target, delimiter=',', *, header='auto', task='classification', class_names=None"
    ),
    "data.load_digits": "",
    "data.load_iris": "",
    "data.load_penguins": "",
    "data.load_wine": "",
    "data.load_names": "",
    "data.make_blobs": "n=1000, centers=3, noise=0.2, rng=None",
    "data.make_moons": "n=1000, noise=0.1, rng=None",
    "data.make_spirals": "n=1000, arms=3, noise=0.02, rng=None",
    "data.one_hot": "labels, num_classes=None, dtype=float32",
    "data.train_test_split": "*arrays, test_size=0.2, stratify=None, rng=None",
    # images
    "functional.avg_pool2d": "x, kernel_size, stride=None, padding=0",
    "functional.conv2d": "x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",
    "functional.conv_transpose2d": (
        "x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1"
    ),
    "functional.max_pool2d": "x, kernel_size, stride=None, padding=0, dilation=1",
    "nn.AvgPool2d": "kernel_size, stride=None, padding=0",
    "nn.AvgPool2d.extra_repr": "",
    "nn.AvgPool2d.forward": "x",
    "nn.Conv2d": (
        "in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, "
        "bias=True, init='he_normal', rng=None, dtype=float32"
    ),
    "nn.Conv2d.extra_repr": "",
    "nn.Conv2d.forward": "x",
    "nn.ConvTranspose2d": (
        "in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, "
        "bias=True, dilation=1, init='he_normal', rng=None, dtype=float32"
    ),
    "nn.ConvTranspose2d.extra_repr": "",
    "nn.ConvTranspose2d.forward": "x",
    "nn.MaxPool2d": "kernel_size, stride=None, padding=0, dilation=1",
    "nn.MaxPool2d.extra_repr": "",
    "nn.MaxPool2d.forward": "x",
    "data.load_idx": "path",
    # gradcheck
    "gradcheck.InputReport": (
        "name, shape, error=0.0, index=(), analytic=0.0, numeric=0.0, unjudged=[], faults=[]"
    ),
    "gradcheck.Report": "name, order, inputs=[], faults=[]",
    # export
    "export.OnnxFile": "path, opset, input, output, difference",
    "export.TorchModel": "source, state",
    "export.to_onnx": "model, path, example",
    "export.to_pytorch": "model, example=None",
    # testing
    "testing.check_module": (
        "module, *sample, order=1, batched=True, batch_of_one=True, equivariant=True, "
        "max_unjudged=0.5"
    ),
    "testing.check_optimizer": "rule, *, first_step=None, path=None, **hyper",
    "testing.optimizer_checks": "rule, *, first_step=None, path=None, **hyper",
    # training
    "training.Accuracy": "ignore_index=None",
    "training.Accuracy.divisor": "predictions, targets",
    "training.History": "as of dict",
    "training.accuracy": "predictions, targets, ignore_index=None",
    "training.F1": "average='auto', ignore_index=None, zero_division=0.0",
    "training.F1.check": "predictions, targets",
    "training.Precision": "average='auto', ignore_index=None, zero_division=0.0",
    "training.Precision.check": "predictions, targets",
    "training.R2": "",
    "training.R2.check": "predictions, targets",
    "training.ROCAUC": "ignore_index=None",
    "training.ROCAUC.check": "predictions, targets",
    "training.Recall": "average='auto', ignore_index=None, zero_division=0.0",
    "training.Recall.check": "predictions, targets",
    "training.confusion_matrix": "predictions, targets, ignore_index=None",
    "training.f1": "predictions, targets, average='auto', ignore_index=None, zero_division=0.0",
    "training.precision": (
        "predictions, targets, average='auto', ignore_index=None, zero_division=0.0"
    ),
    "training.r2": "predictions, targets",
    "training.recall": "predictions, targets, average='auto', ignore_index=None, zero_division=0.0",
    "training.roc_auc": "predictions, targets, ignore_index=None",
    "training.RateRange": "rates, losses, smoothed, diverged",
    "training.RateRange.plot": "path=None",
    "optim.lr_range": (
        "model, loss, data, rule=SGD, *, lowest=1e-06, highest=10.0, steps=100, compiled=False"
    ),
    "training.whole_set": "metric",
    # parallel
    "parallel.Alone": "",
    "parallel.Alone.Allreduce": "sent, received",
    "parallel.Alone.Get_rank": "",
    "parallel.Alone.Get_size": "",
    "parallel.Alone.allgather": "value",
    "parallel.Alone.bcast": "value, root=0",
    "parallel.Alone.gather": "value, root=0",
    "parallel.Ranks": "comm=None",
    "parallel.Ranks.average_gradients": "optimizer, share, *, weighed=False",
    "parallel.Ranks.begin_alike": "model, optimizer=None, *loaders",
    "parallel.Ranks.check_alike": "model",
    "parallel.Ranks.join_buffers": "model",
    "parallel.Ranks.of_first": "value",
    "parallel.Ranks.sum": "values",
    "parallel.Shards": "loader, ranks",
    "parallel.Shards.load_state_dict": "state",
    "parallel.Shards.state_dict": "",
    "parallel.SyncBatchNorm": "num_features, eps=1e-05, momentum=0.1, affine=True, dtype=float32",
    "parallel.SyncBatchNorm.forward": "x",
    "parallel.evaluate": "model, loss, data, metrics=None, *, ranks=None",
    "parallel.fit": (
        "model, loss, optimizer, train, validation=None, *, ranks=None, epochs=10, metrics=None, "
        "callbacks=(), progress=True, checkpoint=None, batch_size=None, clip_norm=None, "
        "accumulate=1, **not_taken"
    ),
    "parallel.sync_batch_norm": "model, ranks",
    "training.CSVLog": "path",
    "training.CSVLog.on_epoch_end": "run",
    "training.CSVLog.on_fit_begin": "run",
    "training.Callback": "",
    "training.Callback.load_state_dict": "state",
    "training.Callback.on_epoch_end": "run",
    "training.Callback.on_fit_begin": "run",
    "training.Callback.on_fit_end": "run",
    "training.Callback.state_dict": "",
    "training.EarlyStopping": (
        "patience, *, monitor='validation_loss', min_delta=0.0, mode='auto', restore_best=True"
    ),
    "training.EarlyStopping.on_epoch_end": "run",
    "training.EarlyStopping.on_fit_begin": "run",
    "training.EarlyStopping.on_fit_end": "run",
    "training.History.plot": "path=None",
    "training.KeepBest": "path=None, *, monitor='validation_loss', mode='auto'",
    "training.KeepBest.on_epoch_end": "run",
    "training.KeepBest.on_fit_begin": "run",
}

PYTORCH = {
    # What PyTorch has under the same or another name has PyTorch's default (2.13).
    "minidl.Tensor": {"requires_grad": False},
    "minidl.Tensor.backward": {"gradient": None},
    "minidl.grad": {"create_graph": False, "retain_graph": None},
    "functional.batch_norm": {
        "weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5,
    },
    "functional.binary_cross_entropy_with_logits": {"pos_weight": None, "reduction": "mean"},
    "functional.cross_entropy": {
        "weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0,
    },
    "functional.dropout": {"p": 0.5, "training": True},
    "functional.gelu": {"approximate": "none"},
    "functional.huber_loss": {"reduction": "mean", "delta": 1.0},
    "functional.l1_loss": {"reduction": "mean"},
    "functional.leaky_relu": {"negative_slope": 0.01},
    "functional.linear": {"bias": None},
    "functional.mse_loss": {"reduction": "mean"},
    "functional.softplus": {"beta": 1.0},
    "nn.BCEWithLogitsLoss": {"pos_weight": None, "reduction": "mean"},
    "nn.BatchNorm": {"eps": 1e-5, "momentum": 0.1, "affine": True},
    "nn.CrossEntropyLoss": {
        "weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0,
    },
    "nn.Dropout": {"p": 0.5},
    "nn.GELU": {"approximate": "none"},
    "nn.HuberLoss": {"reduction": "mean", "delta": 1.0},
    "nn.L1Loss": {"reduction": "mean"},
    "nn.LeakyReLU": {"negative_slope": 0.01},
    "nn.Linear": {"bias": True},
    "nn.MSELoss": {"reduction": "mean"},
    "nn.Module.train": {"mode": True},
    "nn.Parameter": {"requires_grad": True},
    "optim.SGD": {"weight_decay": 0.0},
    "optim.Adagrad": {"lr": 1e-2, "eps": 1e-10, "weight_decay": 0.0},
    "optim.Adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "optim.AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
    "optim.Momentum": {"weight_decay": 0.0, "nesterov": False},
    "functional.layer_norm": {"weight": None, "bias": None, "eps": 1e-5},
    "functional.scaled_dot_product_attention": {"mask": None, "causal": False},
    "nn.LayerNorm": {"eps": 1e-5, "elementwise_affine": True, "bias": True},
    "nn.ModuleDict": {"modules": None},
    "optim.RMSProp": {"lr": 1e-2, "decay_rate": 0.99, "eps": 1e-8, "weight_decay": 0.0},  # alpha
    "optim.schedules.step_decay": {"factor": 0.1},  # gamma of StepLR
    "optim.schedules.cosine": {"final": 0.0},  # eta_min of CosineAnnealingLR
    "optim.schedules.one_cycle": {
        "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4,
    },
    "data.DataLoader": {"shuffle": False, "drop_last": False},
    # images
    "functional.avg_pool2d": {"stride": None, "padding": 0},
    "functional.conv2d": {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    "functional.conv_transpose2d": {
        "bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1,
    },
    "functional.max_pool2d": {"stride": None, "padding": 0, "dilation": 1},
    "nn.AvgPool2d": {"stride": None, "padding": 0},
    "nn.Conv2d": {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True},
    "nn.ConvTranspose2d": {
        "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "bias": True, "dilation": 1,
    },
    "nn.MaxPool2d": {"stride": None, "padding": 0, "dilation": 1},
}  # fmt: skip


def written(value):
    """A default as it stands in the table."""
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__name__", repr(value))


def signature(function):
    """The parameters of a function, without self, with literal defaults."""
    if getattr(function, "__init__", None) is dict.__init__:
        return "as of dict"
    words, bare = [], False
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not bare:
            words.append("*")
        bare = bare or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "[]" if "factory" in repr(p.default) else written(p.default)
        words.append(stars + p.name + (f"={default}" if p.default is not p.empty else ""))
    return ", ".join(word for word in words if word != "self")


def is_inner(cls, named):
    """Whether a class is a part of public ones only, and not public itself."""
    return id(cls) not in named and cls.__module__.startswith("minidl")


def public():
    """Every public callable of the package under its name; of a class also its methods."""
    seen = {}
    named = {id(value) for module in PLACES.values() for value in vars(module).values()}
    for place, module in PLACES.items():
        for name in {**vars(module), **dict.fromkeys(getattr(module, "__all__", ()))}:
            value = getattr(module, name)
            if hasattr(module, "__all__"):
                mine = name in module.__all__
            else:
                mine = getattr(value, "__module__", None) == module.__name__
            if name.startswith("_") or not callable(value) or not mine:
                continue
            if any(value is other for other in seen.values()):
                continue
            if inspect.isclass(value) and issubclass(value, Exception):
                continue
            seen[f"{place}.{name}"] = value
            if inspect.isclass(value):
                bases = value.__mro__[1:]
                inner = itertools.takewhile(lambda c: is_inner(c, named), bases)
                classes = [value, *inner]
                for method in {k: None for c in classes for k in vars(c)}:
                    raw = inspect.getattr_static(value, method)
                    attribute = None if isinstance(raw, property) else getattr(value, method)
                    if not method.startswith("_") and callable(attribute):
                        seen[f"{place}.{name}.{method}"] = attribute
    return seen


def test_the_table_is_the_interface():
    found = {name: signature(f) for name, f in public().items()}
    assert sorted(found) == sorted(INTERFACE)
    for name, expected in INTERFACE.items():
        assert found[name] == expected, name


def test_a_name_that_is_missing_and_a_default_that_has_changed_are_found(monkeypatch):
    monkeypatch.setattr(schedules, "square", lambda lr, steps=10: lr, raising=False)
    schedules.square.__module__ = "minidl.optim.schedules"
    with pytest.raises(AssertionError):
        test_the_table_is_the_interface()
    monkeypatch.undo()
    monkeypatch.setattr(functional, "leaky_relu", lambda x, negative_slope=0.1: x)
    with pytest.raises(AssertionError, match="leaky_relu"):
        test_the_table_is_the_interface()


def test_every_public_name_is_listed():
    for place, module in PLACES.items():
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{place}.{name}"


@pytest.mark.parametrize("name", PYTORCH)
def test_defaults_are_those_of_pytorch(name):
    parameters = inspect.signature(public()[name]).parameters
    assert {k: parameters[k].default for k in PYTORCH[name]} == PYTORCH[name]


# --- The table of derivatives has the parameters of the functions --------------------------------


def parameters_of(function):
    function = getattr(function, "forward", function)
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # NumPy's functions in C have none
        return None


@pytest.mark.parametrize("function", list(TABLE), ids=lambda f: name_of(f))
def test_a_row_of_the_table_has_the_parameters_and_defaults_of_its_function(function):
    parameters = parameters_of(function)
    if isinstance(function, np.ufunc) or parameters is None:
        return
    operation = TABLE[function]
    if getattr(function, "__module__", "").startswith("numpy") and function is not np.where:
        names = [name.rstrip("_") for name in operation.names]
        assert names == [p.name for p in parameters if p.kind is not p.VAR_KEYWORD][: len(names)]
    for p in parameters:
        if p.name in operation.defaults and p.default is not p.empty:
            default = operation.defaults[p.name]
            assert repr(p.default) == "<no value>" or default == p.default, p.name


@pytest.mark.parametrize("function", list(COMPOSED), ids=lambda f: name_of(f))
def test_a_composed_function_has_the_parameters_and_defaults_of_numpys(function):
    theirs = parameters_of(function)
    if theirs is None:
        return
    expected = {p.name: p for p in theirs}
    for p in inspect.signature(COMPOSED[function]).parameters.values():
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in expected:
            default = expected[p.name].default
            if default is p.empty:  # a default that NumPy has had since a later release
                continue
            if p.default is not p.empty and repr(default) != "<no value>":
                assert p.default == default, p.name
    ours = [p.name for p in inspect.signature(COMPOSED[function]).parameters.values()]
    if function is not np.einsum:  # its first argument has no name
        assert ours[0] == theirs[0].name


# --- What is passed by keyword arrives ------------------------------------------------------------

X = np.array([[0.5, -1.0, 2.0], [-0.25, 1.5, -2.0]])
Y = np.array([[0.0, 1.0, 0.5], [1.0, 0.2, -3.0]])
ONES, TWOS = np.ones(3), np.full(3, 2.0)
IMAGES = np.random.default_rng(0).normal(size=(2, 2, 6, 5))
FILTERS = np.random.default_rng(1).normal(size=(2, 1, 2, 3))

CALLS = {  # arguments in their order; options with a value that is not the default
    F.batch_norm: {
        "x": X, "running_mean": ONES, "running_var": TWOS, "weight": TWOS, "bias": ONES,
        "training": True, "momentum": 0.5, "eps": 0.1,
    },
    F.binary_cross_entropy_with_logits: {
        "input": X, "target": np.abs(Y) / 3, "pos_weight": 2.0, "reduction": "sum",
    },
    F.cross_entropy: {
        "input": X, "target": np.array([0, 2]), "weight": np.array([1.0, 2.0, 3.0]),
        "ignore_index": 0, "reduction": "sum", "label_smoothing": 0.1,
    },
    F.dropout: {"x": X, "p": 0.3, "training": True, "rng": 0},
    F.layer_norm: {
        "x": X, "normalized_shape": 3, "weight": TWOS, "bias": ONES, "eps": 0.1,
    },
    F.scaled_dot_product_attention: {
        "q": X, "k": X, "v": Y, "mask": np.array([[True, True], [False, True]]), "causal": True,
    },
    F.gelu: {"x": X, "approximate": "tanh"},
    F.huber_loss: {"input": X, "target": Y, "reduction": "sum", "delta": 0.3},
    F.l1_loss: {"input": X, "target": Y, "reduction": "sum"},
    F.leaky_relu: {"x": X, "negative_slope": 0.3},
    F.linear: {"x": X, "weight": np.ones((2, 3)), "bias": np.array([1.0, 2.0])},
    F.log_softmax: {"x": X, "axis": 0},
    F.logsumexp: {"x": X, "axis": 0, "keepdims": True},
    F.mse_loss: {"input": X, "target": Y, "reduction": "sum"},
    F.relu: {"x": X},
    F.sigmoid: {"x": X},
    F.softmax: {"x": X, "axis": 0},
    F.softplus: {"x": X, "beta": 2.0},
    F.tanh: {"x": X},
    # images
    F.avg_pool2d: {"x": IMAGES, "kernel_size": 2, "stride": 1, "padding": 1},
    F.conv2d: {
        "x": IMAGES, "weight": FILTERS, "bias": np.array([1.0, -2.0]), "stride": 2, "padding": 2,
        "dilation": 2, "groups": 2,
    },
    F.conv_transpose2d: {
        "x": IMAGES, "weight": FILTERS, "bias": np.array([1.0, -2.0]), "stride": 3, "padding": 1,
        "output_padding": 1, "groups": 2, "dilation": 2,
    },
    F.max_pool2d: {"x": IMAGES, "kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2},
}  # fmt: skip


def value_and_gradient(function, args, kwargs):
    """The result, and the gradient of its first argument."""
    first = "x" if "x" in kwargs else "q" if "q" in kwargs else "input"
    t = Tensor(args[0] if args else kwargs[first], requires_grad=True)
    args = [t, *map(np.copy, args[1:])] if args else []
    kwargs = {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    if not args:
        kwargs[first] = t
    y = function(*args, **kwargs)
    (y * np.arange(1.0, y.size + 1).reshape(y.shape)).sum().backward()
    return y.data, t.grad


def test_every_function_has_a_call():
    of_integers = {"embedding"}  # which has no options, and no gradient of its first argument
    assert {f.__name__ for f in CALLS} == set(functional.__all__) - of_integers


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f.__name__)
def test_arguments_by_position_and_by_keyword_do_the_same(function):
    named = CALLS[function]
    assert list(named) == list(inspect.signature(function).parameters)
    values = list(named.values())
    t = Tensor(values[0], requires_grad=True)
    y = function(t, *values[1:])
    (y * np.arange(1.0, y.size + 1).reshape(y.shape)).sum().backward()
    by_name, gradient = value_and_gradient(function, [], named)
    np.testing.assert_array_equal(y.data, by_name)
    np.testing.assert_array_equal(t.grad, gradient)


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f.__name__)
def test_every_option_has_an_effect(function):
    parameters = inspect.signature(function).parameters
    required = {k: v for k, v in CALLS[function].items() if parameters[k].default is inspect._empty}
    base = CALLS[function]
    for name in base.keys() - required.keys() - {"rng"}:
        without = {k: v for k, v in base.items() if k != name}
        if (function, name) == (F.dropout, "training"):
            without["training"], base = False, base | {"training": True}
        if (function, name) == (F.batch_norm, "momentum"):
            continue  # acts on the running statistics
        if name == "groups":
            continue  # without it the weight has another shape
        with_it, gradient = value_and_gradient(function, [], base)
        left_out, other = value_and_gradient(function, [], without)
        same = with_it.shape == left_out.shape and np.array_equal(with_it, left_out)
        assert not same or not np.array_equal(gradient, other), name


@pytest.mark.parametrize("reduction", ["sum", "mean", "max", "min", "prod", "var", "std"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_method_and_numpys_function_take_the_same_arguments(reduction, axis, keepdims):
    function = getattr(np, reduction)
    expected = function(X, axis=axis, keepdims=keepdims)
    for y in (
        getattr(Tensor(X), reduction)(axis, keepdims=keepdims),
        getattr(Tensor(X), reduction)(keepdims=keepdims, axis=axis),
        function(Tensor(X), axis, keepdims=keepdims),
        function(Tensor(X), axis=axis, keepdims=keepdims),
        function(a=Tensor(X), axis=axis, keepdims=keepdims),
    ):
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.data, expected, rtol=1e-15)


UFUNCS = [f for f in TABLE if isinstance(f, np.ufunc)]


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "option", [{"where": np.ones((2, 3), bool)}, {"casting": "safe"}, {"nonsense": 1}]
)
def test_a_keyword_that_would_be_dropped_is_refused(ufunc, option):
    with pytest.raises(TypeError, match=next(iter(option))):
        ufunc(*[Tensor(np.full((2, 3), 0.5))] * ufunc.nin, **option)


@pytest.mark.parametrize("function", list(TABLE), ids=lambda f: name_of(f))
def test_a_keyword_that_nobody_knows_is_refused(function):
    if name_of(function) == "getitem":  # of Python, which takes none
        return
    with pytest.raises(TypeError):
        function(Tensor(X), nonsense=1)


def test_a_function_of_ones_own_gets_its_keywords():
    @minidl.differentiable
    def scaled(x, by=2.0):
        return x * by

    minidl.vjp(scaled, "x by=2.0", x=lambda g, by: g * by)
    try:
        for y, expected in [
            (scaled(Tensor(X)), 2 * X),
            (scaled(Tensor(X), 3.0), 3 * X),
            (scaled(Tensor(X), by=3.0), 3 * X),
            (scaled(x=Tensor(X), by=0.0), 0 * X),
            (scaled(by=3.0, x=Tensor(X)), 3 * X),
        ]:
            np.testing.assert_array_equal(y.data, expected)
        with pytest.raises(TypeError, match="to="):
            scaled(Tensor(X), to=3.0)
    finally:
        del TABLE[scaled]


def test_arrays_in_a_list_may_be_passed_by_the_names_of_numpy():
    t = Tensor(X)
    for y, expected in [
        (np.vstack(tup=[t, t]), np.vstack([X, X])),
        (np.hstack(tup=[t, t]), np.hstack([X, X])),
        (np.concatenate([t, t], axis=1), np.hstack([X, X])),
        (np.stack(arrays=[t, t], axis=1), np.stack([X, X], 1)),
        (np.split(ary=t, indices_or_sections=3, axis=1)[1], X[:, 1:2]),
        (np.split(t[:0], 2)[1], X[:0]),
    ]:
        np.testing.assert_array_equal(y.data, expected)


# --- 0 and False are values -----------------------------------------------------------------------


def test_class_0_can_be_ignored():
    logits, target = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]), np.array([0, 1, 1])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = np.array([0.0, -log_p[1, 1], -log_p[2, 1]])
    for how, expected in [("none", losses), ("sum", losses.sum()), ("mean", losses.sum() / 2)]:
        for loss in (
            lambda x, how=how: F.cross_entropy(x, target, ignore_index=0, reduction=how),
            lambda x, how=how: nn.CrossEntropyLoss(ignore_index=0, reduction=how)(x, target),
        ):
            x = Tensor(logits, requires_grad=True)
            y = loss(x)
            np.testing.assert_allclose(y.data, expected, rtol=1e-12)
            y.sum().backward()
            p = np.exp(log_p) - [[0, 0], [0, 1], [0, 1]]
            p[0] = 0
            np.testing.assert_allclose(x.grad, p / (2 if how == "mean" else 1), rtol=1e-12)
    weighted = F.cross_entropy(Tensor(logits), target, np.array([5.0, 3.0]), ignore_index=0)
    np.testing.assert_allclose(weighted.data, losses.sum() / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: F.leaky_relu(Tensor(X), 0.0).data, np.maximum(X, 0)),
        (lambda: F.leaky_relu(Tensor(X), negative_slope=0).data, np.maximum(X, 0)),
        (lambda: nn.LeakyReLU(0)(Tensor(X)).data, np.maximum(X, 0)),
        (lambda: F.dropout(Tensor(X), 0, rng=0).data, X),
        (lambda: nn.Dropout(0)(Tensor(X)).data, X),
        (
            lambda: F.binary_cross_entropy_with_logits(Tensor([5.0]), np.ones(1), 0.0).data,
            np.zeros(()),
        ),
        (lambda: F.softmax(Tensor(X), 0).data.sum(axis=0), np.ones(3)),
        (lambda: np.repeat(Tensor(X), 0).data, np.zeros(0)),
        (lambda: np.roll(Tensor(X), 0).data, X),
        (lambda: np.take(Tensor(X), 0).data, np.array(0.5)),
        (lambda: Tensor(X).clip(0).data, np.maximum(X, 0)),
        (lambda: Tensor(X).clip(max=0).data, np.minimum(X, 0)),
        (lambda: Tensor(X).clip(0, 0).data, np.zeros((2, 3))),
        (lambda: optim.schedules.cosine(1.0, 10, final=0)(10), 0.0),
        (lambda: optim.schedules.step_decay(1.0, 2, 0)(2), 0.0),
    ],
)
def test_an_argument_of_zero_is_that_and_not_the_default(found, expected):
    np.testing.assert_allclose(found(), expected, atol=1e-15)


def test_a_momentum_of_zero_keeps_running_statistics_and_one_replaces_them():
    for momentum, mean in [(0, np.zeros(3)), (1, X.mean(axis=0))]:
        layer = nn.BatchNorm(3, momentum=momentum, dtype=np.float64)
        layer(Tensor(X))
        np.testing.assert_allclose(layer.running_mean, mean, atol=1e-15)


def test_a_seed_of_zero_is_a_seed():
    def drawn(rng):
        return [
            F.dropout(Tensor(np.ones(64)), rng=rng).data,
            nn.Linear(8, 8, rng=rng).weight.data,
            data.make_moons(16, rng=rng)[0],
            next(iter(data.DataLoader(np.arange(64.0), batch_size=64, shuffle=True, rng=rng))),
            data.train_test_split(np.arange(64.0), rng=rng)[0],
        ]  # fmt: skip

    for first, again, other in zip(drawn(0), drawn(0), drawn(1), strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
