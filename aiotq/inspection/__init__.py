"""What an operator sees and does: the values of `app.inspect`, and the decisions behind them."""
