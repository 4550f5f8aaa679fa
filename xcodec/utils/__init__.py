"""What every part needs and none owns: configs, checkpoint files, atomic writes, processes, signals, spectra."""
