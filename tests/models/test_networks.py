import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import models


def weights(module, shape):
    """Counted without drawing any."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    params = jax.eval_shape(
        lambda key: module.init(key, jnp.zeros(x.shape))["params"], jax.random.key(0)
    )
    return models.num_weights(params)


PAPER = {
    "cnn": (models.cnn(), (28, 28, 1), 28_880),
    "mlp10": (models.mlp10(), (8, 8, 1), 215_722),
    "cnn8": (models.cnn8(), (8, 8, 1), 2_536_090),
    "vgg11": (models.vgg11(), (32, 32, 3), 9_222_848),
    "vgg13": (models.vgg13(), (32, 32, 3), 9_407_168),
    "vgg16": (models.vgg16(), (32, 32, 3), 14_715_584),
    "resnet18": (models.resnet18(), (32, 32, 3), 11_164_352),
    "resnet21": (models.resnet21(), (32, 32, 3), 17_357_504),
    "resnet34": (models.resnet34(), (32, 32, 3), 21_265_088),
}


@pytest.mark.parametrize("name", PAPER)
def test_parameters_are_the_papers(name):
    module, shape, expected = PAPER[name]
    assert weights(module, shape) == expected


@pytest.mark.parametrize("stages", [(2, 2, 2, 2), (2, 3, 3, 3), (3, 4, 6, 3)])
def test_resnet_weights_by_hand(stages):
    total, inputs = 9 * 3 * 64, 64
    for stage, channels in zip(stages, (64, 128, 256, 512), strict=True):
        total += 9 * inputs * channels + 9 * (2 * stage - 1) * channels**2
        total += inputs * channels if inputs != channels else 0
        inputs = channels
    module = models.ResNet(stages)
    assert weights(module, (32, 32, 3)) == total + 5120


def test_batch_norm_adds_two_numbers_a_channel():
    assert weights(models.cnn(norm=True), (28, 28, 1)) == 28_880 + 2 * (16 + 32)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (models.cnn(width=0.25, parametrisation=models.NTK), (28, 28, 1)),
        (models.cnn(width=0.25), (8, 8, 1)),
        (models.cnn(width=0.25, num_outputs=3), (9, 5, 2)),
        (models.cnn8(width=0.05), (8, 8, 1)),
        (models.mlp10(width=0.1, parametrisation=models.NTK), (8, 8, 1)),
        (models.mlp((7,), 2, bias=True, norm=True), (5,)),
        (models.vgg11(width=0.05), (32, 32, 3)),
        (models.ResNet((1, 1), (2, 3), parametrisation=models.NTK), (28, 28, 1)),
        (models.resnet18(width=0.05, norm=True), (8, 8, 1)),
    ],
)
def test_outputs_are_finite_for_every_size(key, module, shape):
    x = jax.random.uniform(key, (3, *shape))
    params, state = models.init_with_state(key, module, x)
    outputs, _ = jax.jit(models.apply_with_state(module))(params, state, x)
    assert outputs.shape == (3, module.num_outputs)
    assert jnp.isfinite(outputs).all()


@pytest.mark.parametrize("size", [25, 28, 32])
def test_global_average_is_over_four_by_four(size):
    module = models.resnet18(width=0.05)
    x = jnp.zeros((1, size, size, 1))
    _, captured = jax.eval_shape(
        lambda key: module.init_with_output(key, x, capture_intermediates=True),
        jax.random.key(0),
    )
    maps = jax.tree.leaves(captured["intermediates"]["Conv_19"])
    assert maps[0].shape[1:3] == (4, 4)


def test_width_scales_hidden_channels_but_not_outputs():
    assert models.cnn(width=0.5).plan == (8, models.POOL, 16, models.POOL)
    assert models.mlp10(width=1e-3).widths == (1,) * 9
    assert models.cnn8(width=2.0).linear == (20,)
    with pytest.raises(ValueError, match="width must be a positive"):
        models.cnn(width=0.0)


def test_images_too_small_or_of_the_wrong_rank(key):
    with pytest.raises(ValueError, match=r"at least 32x32; got 28x28.*resize\(x, 32\)"):
        models.init(key, models.vgg11(), jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(ValueError, match=r"got shape \(1, 28, 28\).*x\[..., None\]"):
        models.init(key, models.cnn(), jnp.zeros((1, 28, 28)))


def test_resize_keeps_constants_and_means():
    np.testing.assert_allclose(models.resize(jnp.full((1, 28, 28, 1), 0.3), 32), 0.3)
    ramp = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None], (1, 4, 4, 1))
    twice = models.resize(ramp, 8)[0, :, 0, 0]
    np.testing.assert_allclose(twice, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def torch_like_block(x, params, names):
    """A basic block in plain numpy: padding 1 on all sides, whatever the stride."""

    def conv(x, kernel, stride):
        pad = kernel.shape[0] // 2
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        size = kernel.shape[0]
        rows = range(0, x.shape[0] - size + 1, stride)
        return np.array(
            [
                [np.tensordot(x[i : i + size, j : j + size], kernel, 3) for j in rows]
                for i in rows
            ]
        )

    first, second, short = (np.asarray(params[n]["kernel"], float) for n in names)
    out = conv(np.maximum(conv(x, first, 2), 0), second, 1)
    return np.maximum(out + conv(x, short, 2), 0)


def test_a_stride_of_two_pads_as_pytorch_does(key):
    module = models.ResNet((0, 1), (2, 3), num_outputs=None)
    x = jax.random.normal(key, (1, 6, 6, 1))
    params = models.init(key, module, x)
    stem = np.asarray(
        jax.lax.conv_general_dilated(
            x,
            params["Conv_0"]["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    )[0]
    maps = torch_like_block(np.maximum(stem, 0), params, ["Conv_1", "Conv_2", "Conv_3"])
    features = models.apply_fn(module)(params, x)[0]
    np.testing.assert_allclose(features, maps.mean((0, 1)), rtol=1e-4)
