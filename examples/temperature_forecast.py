"""Forecast the next 24 hours of temperature from the last four days with an LSTM.

Data: hourly temperatures of Seattle through 2010, from NOAA, as vega_datasets 0.9.0 carries them. They are smooth
(hourly normals rather than readings), so naive forecasts are good already. The first 75 % of the year train, the months
after test. The network reads by how much each hour differed from the day before, and tells by how much the next will.

Expect about 0.07 degrees; "as yesterday" is off by 0.20, and "as yesterday, and changing as it did" by 0.08.
"""

import _data
import numpy as np

from lamella import layers, models, optimizers

PAST, DAY = 96, 24


def windows(temperatures, begin, end):
    """(past, future) of every hour from begin to end: the 96 hours before, and the 24 after."""
    starts = np.arange(begin, end - PAST - DAY + 1)[:, None]
    return temperatures[starts + np.arange(PAST)], temperatures[starts + np.arange(PAST, PAST + DAY)]


def changes(hours):
    return hours[:, DAY:] - hours[:, :-DAY]


def network():
    return models.Sequential([layers.Input((PAST - DAY, 1)), layers.LSTM(32), layers.Dense(DAY)])


def main(argv=None):
    args = _data.begin(_data.arguments(__doc__, epochs=8), argv)
    temperatures = _data.seattle_temperatures(args.data)
    cut = len(temperatures) * 3 // 4
    past, future = windows(temperatures, 0, cut)
    past_test, future_test = windows(temperatures, cut, len(temperatures))

    scale = changes(past).std()
    steps = -(-len(past) // 64)
    model = network()
    model.compile(optimizers.Adam(optimizers.schedules.ExponentialDecay(0.002, steps, 0.8)), "mse")
    model.fit(changes(past)[..., None] / scale, (future - past[:, -DAY:]) / scale, batch_size=64, epochs=args.epochs,
              verbose=_data.verbosity())  # fmt: skip

    def error(forecast):
        return float(np.abs(forecast - future_test).mean())

    yesterday, change = past_test[:, -DAY:], changes(past_test)
    return _data.report(f"mean absolute error, degrees Fahrenheit, over {len(past_test):,} forecasts of 24 hours", {
        "LSTM": error(yesterday + scale * model.predict(change[..., None] / scale)),
        "as yesterday, and changing as it did": error(yesterday + change[:, -DAY:]),
        "as yesterday": error(yesterday),
        "as in the last hour": error(past_test[:, -1:]),
    })  # fmt: skip


if __name__ == "__main__":
    main()
