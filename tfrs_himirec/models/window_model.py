"""What the Keras 3 models have in common: one loss of a batch of windows."""

import keras
import tensorflow as tf


class WindowModel(keras.Model):
    """A model that is trained on batches of `windows.training_windows`."""

    def __init__(self, name: str):
        super().__init__(name=name)
        self.mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.mean]

    def batch_loss(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Returns the mean loss of a batch, see `windows.training_windows`."""
        raise NotImplementedError

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = self.batch_loss(batch, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        self.optimizer.apply(gradients, variables)
        self.mean.update_state(loss)
        return {"loss": self.mean.result()}
