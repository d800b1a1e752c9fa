// Nothing yet: the room of training is being built.
